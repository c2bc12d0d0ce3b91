-- Every statement of the own store, by name. Names carry their schema: a pooler may stand between,
-- so no search_path can be relied on. Parsed by sql.py; comment lines are left out.

-- schema_state --
SELECT current_user::text AS role,
    current_database()::text AS database,
    n.oid IS NOT NULL AS schema_exists,
    pg_catalog.has_database_privilege(current_database(), 'CREATE') AS may_create,
    coalesce(pg_catalog.has_schema_privilege(n.oid, 'CREATE'), false) AS may_write,
    c.oid IS NOT NULL AS versioned,
    coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE')
        AND pg_catalog.has_table_privilege(c.oid, 'SELECT'), false) AS may_read
FROM (SELECT 1) AS one
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'sophia'
LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'alembic_version'

-- schema_version --
SELECT version_num FROM sophia.alembic_version

-- backend_pid --
SELECT pg_catalog.pg_backend_pid() AS pid

-- wake --
-- Sent with the transaction that queued a job, or asked something of one.
SELECT pg_catalog.pg_notify('sophia_jobs', '')

-- listen --
LISTEN sophia_jobs

-- add_job --
INSERT INTO sophia.jobs (
    id, kind, state, base, dataset, request, provider, provider_job_id, model_id, resulting_model,
    files, run_folder, host, boot_id, pid, process_started, worker_id, created_by, created_at,
    started_at, finished_at, heartbeat_at, last_event, event_offset, step, total_steps, loss,
    seconds_left, resumes, resumes_forgiven, wanted, error, result, queue, not_before, waiting,
    cost_usd, folder, slot, regardless, version
) VALUES (
    %(id)s, %(kind)s, %(state)s, %(base)s, %(dataset)s, %(request)s, %(provider)s,
    %(provider_job_id)s, %(model_id)s, %(resulting_model)s, %(files)s, %(run_folder)s, %(host)s,
    %(boot_id)s, %(pid)s, %(process_started)s, %(worker_id)s, %(created_by)s, %(created_at)s,
    %(started_at)s, %(finished_at)s, %(heartbeat_at)s, %(last_event)s, %(event_offset)s, %(step)s,
    %(total_steps)s, %(loss)s, %(seconds_left)s, %(resumes)s,
    %(resumes_forgiven)s, %(wanted)s, %(error)s, %(result)s, %(queue)s, %(not_before)s, %(waiting)s,
    %(cost_usd)s, %(folder)s, %(slot)s, %(regardless)s, %(version)s
)

-- get_job --
SELECT * FROM sophia.jobs WHERE id = %(id)s OR provider_job_id = %(id)s
ORDER BY id = %(id)s DESC LIMIT 1

-- page_jobs --
SELECT * FROM sophia.jobs
WHERE (%(states)s::text[] = '{}' OR state = ANY (%(states)s::text[]))
    AND (%(kinds)s::text[] = '{}' OR kind = ANY (%(kinds)s::text[]))
ORDER BY created_at DESC, place DESC LIMIT %(limit)s OFFSET %(offset)s

-- list_jobs --
-- This and the other lists are ordered and cut by store/lists.py.
SELECT * FROM sophia.jobs
WHERE (%(states)s::text[] = '{}' OR state = ANY (%(states)s::text[]))

-- count_jobs --
SELECT state, count(*) AS number FROM sophia.jobs GROUP BY state

-- lock_slots --
-- Two workers of one machine never take the same slot, nor one more than there are.
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('sophia slots ' || %(host)s, 0))

-- claim_job --
WITH taken AS (
    SELECT slot FROM sophia.jobs
    WHERE host = %(host)s AND slot IS NOT NULL AND provider = 'local'
        AND state IN ('validating', 'running', 'pausing') AND id <> ALL (%(gone)s::text[])
), free AS (
    SELECT min(n)::integer AS slot
    FROM pg_catalog.generate_series(0, (SELECT count(*)::integer FROM taken)) AS n
    WHERE n NOT IN (SELECT slot FROM taken)
), chosen AS MATERIALIZED (
    -- a job that has a run folder goes on where that folder is
    SELECT id FROM sophia.jobs
    WHERE state = 'queued' AND (provider <> 'local') = %(hosted)s
        AND (run_folder IS NULL OR %(hosted)s
            OR (host = %(host)s AND coalesce(folder, '') = %(folder)s))
        AND (%(queues)s::text[] IS NULL OR queue = ANY (%(queues)s::text[]))
        AND (not_before IS NULL OR not_before <= pg_catalog.now())
        AND (NOT %(quiet)s OR kind <> 'train' OR regardless)
        AND id <> ALL (%(without)s::text[])
        AND (%(hosted)s OR kind = 'data' OR %(slots)s::integer IS NULL
            OR (SELECT slot FROM free) < %(slots)s)
        -- work on data waits for no training, only for its like
        AND (kind <> 'data' OR (
            SELECT count(*) FROM sophia.jobs AS other
            WHERE other.host = %(host)s AND other.kind = 'data'
                AND other.state IN ('validating', 'running', 'pausing')
        ) < 2)
    ORDER BY place LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE sophia.jobs AS j
SET state = 'validating', worker_id = %(worker)s, host = %(host)s, folder = %(folder)s,
    boot_id = NULL, pid = NULL, process_started = NULL, heartbeat_at = pg_catalog.now(),
    waiting = NULL, not_before = NULL, version = j.version + 1,
    slot = CASE WHEN %(hosted)s OR j.kind = 'data' THEN NULL ELSE (SELECT slot FROM free) END
FROM chosen WHERE j.id = chosen.id
RETURNING j.*

-- take_slot --
WITH taken AS (
    SELECT slot FROM sophia.jobs
    WHERE host = %(host)s AND slot IS NOT NULL AND provider = 'local' AND id <> %(id)s
        AND state IN ('validating', 'running', 'pausing') AND id <> ALL (%(gone)s::text[])
), free AS (
    SELECT min(n)::integer AS slot
    FROM pg_catalog.generate_series(0, (SELECT count(*)::integer FROM taken)) AS n
    WHERE n NOT IN (SELECT slot FROM taken)
)
UPDATE sophia.jobs SET slot = (SELECT slot FROM free), state = 'validating', waiting = NULL,
    worker_id = %(worker)s, version = version + 1
WHERE id = %(id)s AND version = %(version)s AND (SELECT slot FROM free) < %(slots)s
RETURNING *

-- adoptable_jobs --
-- Those that a worker paused for the machine's sake go on by themselves.
SELECT * FROM sophia.jobs
WHERE host = %(host)s AND provider = 'local'
    AND (state NOT IN ('draft', 'queued', 'paused', 'succeeded', 'failed', 'cancelled')
        OR (state = 'paused' AND waiting IS NOT NULL))
ORDER BY place

-- stray_jobs --
-- Begun by workers of other data folders of which none is alive.
SELECT * FROM sophia.jobs AS j
WHERE provider = 'local' AND host IS NOT NULL AND folder IS NOT NULL
    AND state NOT IN ('draft', 'succeeded', 'failed', 'cancelled')
    AND (state <> 'paused' OR waiting IS NOT NULL)
    AND (state <> 'queued' OR run_folder IS NOT NULL)
    AND NOT (host = %(host)s AND folder = %(folder)s)
    AND (%(queues)s::text[] IS NULL OR queue = ANY (%(queues)s::text[]))
    AND NOT EXISTS (
        SELECT FROM sophia.workers AS w WHERE w.host = j.host AND w.folder = j.folder
            AND w.seen_at > pg_catalog.now() - pg_catalog.make_interval(secs => %(seconds)s)
    )
ORDER BY place

-- take_over_job --
UPDATE sophia.jobs SET host = %(host)s, folder = %(folder)s, worker_id = %(worker)s,
    version = version + 1
WHERE id = %(id)s AND version = %(version)s
RETURNING *

-- queued_jobs --
SELECT id, kind, base, dataset, provider, queue, created_by, created_at, not_before, waiting,
    regardless, run_folder IS NOT NULL AS begun, host, folder
FROM sophia.jobs WHERE state = 'queued' ORDER BY place LIMIT %(limit)s OFFSET %(offset)s

-- queue_places --
SELECT id, row_number() OVER (ORDER BY place) AS position FROM sophia.jobs WHERE state = 'queued'

-- usual_seconds --
-- How long the last jobs of each kind and base took, by the machine's clock.
SELECT kind, base, percentile_cont(0.5) WITHIN GROUP (
        ORDER BY extract(epoch FROM finished_at - started_at)::double precision) AS seconds
FROM (
    SELECT kind, base, started_at, finished_at FROM sophia.jobs
    WHERE state = 'succeeded' AND started_at IS NOT NULL AND finished_at > started_at
    ORDER BY created_at DESC, place DESC LIMIT 200
) AS newest
GROUP BY kind, base

-- lock_order --
SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('sophia order', 0))

-- order --
SELECT id, place FROM sophia.jobs WHERE state = 'queued' ORDER BY place

-- place_job --
UPDATE sophia.jobs SET place = %(place)s WHERE id = %(id)s AND state = 'queued'

-- hosted_jobs --
-- What is paused at the provider is looked at as well: somebody may let it go on there; and what
-- waits for its key (J525) or for a worker that knows its provider, which somebody may have mended.
SELECT * FROM sophia.jobs
WHERE host = %(host)s AND provider <> 'local'
    AND state NOT IN ('draft', 'queued', 'succeeded', 'failed', 'cancelled')
    AND (state <> 'paused' OR provider_job_id IS NOT NULL OR waiting IS NOT NULL
        OR error ->> 'code' = 'SOPHIA-J525')
ORDER BY place

-- request_job --
UPDATE sophia.jobs SET wanted = %(wanted)s, version = version + 1
WHERE id = %(id)s AND state NOT IN ('succeeded', 'failed', 'cancelled')
RETURNING *

-- lock_job --
SELECT last_event, event_offset FROM sophia.jobs WHERE id = %(id)s FOR UPDATE

-- add_event --
INSERT INTO sophia.job_events (job_id, number, at, kind, data)
VALUES (%(job_id)s, %(number)s, %(at)s, %(kind)s, %(data)s)

-- move_events --
UPDATE sophia.jobs
SET last_event = %(last)s, event_offset = greatest(event_offset, %(offset)s)
WHERE id = %(id)s

-- events --
SELECT * FROM sophia.job_events WHERE job_id = %(job_id)s AND number > %(after)s
ORDER BY number LIMIT %(limit)s

-- job_figures --
-- Of the newest events: what was said of each figure last. Of the attempts before the last one only
-- what they said of steps that it goes on from.
WITH attempt AS (
    SELECT coalesce(max(number), 0) AS number FROM sophia.job_events
    WHERE job_id = %(job_id)s AND kind = 'state' AND data ->> 'state' = 'starting'
), resumed AS (
    SELECT data -> 'resumed_from_step' AS step FROM sophia.job_events
    WHERE job_id = %(job_id)s AND kind = 'state' AND number > (SELECT number FROM attempt)
        AND pg_catalog.jsonb_typeof(data -> 'resumed_from_step') = 'number'
    ORDER BY number DESC LIMIT 1
)
SELECT DISTINCT ON (f.key) f.key AS name, f.value
FROM (
    SELECT number, data FROM sophia.job_events
    WHERE job_id = %(job_id)s AND kind IN ('metric', 'progress')
        AND (number > (SELECT number FROM attempt)
            OR data -> 'step' <= (SELECT step FROM resumed))
    ORDER BY number DESC LIMIT 200
) AS e, pg_catalog.jsonb_each(e.data) AS f
WHERE f.key = ANY (%(names)s::text[]) AND pg_catalog.jsonb_typeof(f.value) = 'number'
ORDER BY f.key, e.number DESC

-- job_curve --
-- A figure of a training in buckets of so many steps. What an attempt told of steps after the one
-- that a later attempt went on from (cut_numbers, cut_steps) is void. In jsonb's order nothing but
-- numbers stands between two numbers.
SELECT min(m.step) AS first, max(m.step) AS last, avg(m.value) AS mean,
    max(m.value) AS high, count(*) AS count, max(m.at) AS at, max(m.number) AS number,
    min(ARRAY[m.value, m.step]) AS lowest
FROM (
    SELECT number, at, (data -> 'step')::double precision AS step,
        (data -> %(name)s::text)::double precision AS value
    FROM sophia.job_events
    WHERE job_id = %(job_id)s AND kind = 'metric'
        AND data -> 'step' BETWEEN '0' AND '1e15'
        AND data -> %(name)s::text BETWEEN '-1e300' AND '1e300'
    OFFSET 0
) AS m
WHERE NOT EXISTS (
    SELECT 1 FROM ROWS FROM (
        pg_catalog.unnest(%(cut_numbers)s::bigint[]), pg_catalog.unnest(%(cut_steps)s::float8[])
    ) AS c (number, step)
    WHERE m.number < c.number AND m.step > c.step
)
GROUP BY floor(m.step / %(width)s::double precision)
ORDER BY first

-- job_seconds --
-- From the first event to the last one, but not from a stop to the start after it: a run that was
-- killed told nothing until it was started again.
SELECT greatest(0, coalesce(extract(epoch FROM
    (SELECT at FROM sophia.job_events WHERE job_id = %(job_id)s ORDER BY number DESC LIMIT 1)
    - (SELECT at FROM sophia.job_events WHERE job_id = %(job_id)s ORDER BY number LIMIT 1)
), 0) - coalesce((
    SELECT sum(greatest(0, extract(epoch FROM e.at - (
        SELECT b.at FROM sophia.job_events AS b
        WHERE b.job_id = %(job_id)s AND b.number < e.number ORDER BY b.number DESC LIMIT 1
    ))))
    FROM sophia.job_events AS e
    WHERE e.job_id = %(job_id)s AND e.kind = 'state' AND e.data ->> 'state' = 'starting'
), 0))::double precision AS seconds

-- events_size --
SELECT (SELECT count(*) FROM sophia.job_events) AS rows,
    pg_catalog.pg_total_relation_size('sophia.job_events')::bigint AS bytes

-- old_progress --
SELECT count(*) AS number
FROM sophia.job_events AS e JOIN sophia.jobs AS j ON j.id = e.job_id
WHERE e.kind = 'progress' AND j.state IN ('succeeded', 'failed', 'cancelled')
    AND j.finished_at < %(before)s

-- drop_progress --
WITH gone AS (
    DELETE FROM sophia.job_events AS e USING sophia.jobs AS j
    WHERE j.id = e.job_id AND e.kind = 'progress'
        AND j.state IN ('succeeded', 'failed', 'cancelled') AND j.finished_at < %(before)s
    RETURNING 1
)
SELECT count(*) AS number FROM gone

-- beat --
INSERT INTO sophia.workers (id, host, pid, folder, queues, slots, hindrance)
VALUES (%(id)s, %(host)s, %(pid)s, %(folder)s, %(queues)s, %(slots)s, %(hindrance)s)
ON CONFLICT (id) DO UPDATE SET host = excluded.host, pid = excluded.pid, folder = excluded.folder,
    queues = excluded.queues, slots = excluded.slots, hindrance = excluded.hindrance,
    seen_at = now()

-- forget_worker --
DELETE FROM sophia.workers WHERE id = %(id)s

-- living_workers --
SELECT id, host, pid, started_at, seen_at, folder, queues, slots, hindrance FROM sophia.workers
WHERE seen_at > now() - pg_catalog.make_interval(secs => %(seconds)s) ORDER BY started_at

-- add_dataset --
-- The same again changes nothing; one that was deleted is there again.
INSERT INTO sophia.dataset_versions AS v (
    name, hash, folder, counts, manifest, created_by, created_at
) VALUES (
    %(name)s, %(hash)s, %(folder)s, %(counts)s, %(manifest)s, %(created_by)s,
    coalesce(%(created_at)s, now())
)
ON CONFLICT (name, hash) DO UPDATE SET
    folder = excluded.folder, counts = excluded.counts, manifest = excluded.manifest,
    created_by = excluded.created_by, created_at = excluded.created_at,
    deleted_at = NULL, deleted_by = NULL
WHERE v.deleted_at IS NOT NULL

-- get_dataset --
SELECT v.*, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash ORDER BY t.tag
) AS tags, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash
        AND t.protected ORDER BY t.tag
) AS protected FROM sophia.dataset_versions v
WHERE v.name = %(name)s AND pg_catalog.starts_with(v.hash, %(hash)s)
    AND (v.deleted_at IS NULL OR %(deleted)s)
ORDER BY v.deleted_at IS NOT NULL, v.created_at DESC LIMIT 1

-- get_dataset_by_hash --
SELECT v.*, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash ORDER BY t.tag
) AS tags, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash
        AND t.protected ORDER BY t.tag
) AS protected FROM sophia.dataset_versions v
WHERE pg_catalog.starts_with(v.hash, %(hash)s) AND (v.deleted_at IS NULL OR %(deleted)s)
ORDER BY v.deleted_at IS NOT NULL, v.created_at DESC LIMIT 1

-- get_dataset_by_tag --
SELECT v.*, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash ORDER BY t.tag
) AS tags, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash
        AND t.protected ORDER BY t.tag
) AS protected FROM sophia.dataset_versions v
JOIN sophia.dataset_tags g ON g.name = v.name AND g.hash = v.hash
WHERE g.name = %(name)s AND g.tag = %(tag)s AND v.deleted_at IS NULL

-- page_datasets --
SELECT v.*, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash ORDER BY t.tag
) AS tags, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash
        AND t.protected ORDER BY t.tag
) AS protected FROM sophia.dataset_versions v
WHERE (v.deleted_at IS NULL OR %(deleted)s) AND (%(name)s::text IS NULL OR v.name = %(name)s)
ORDER BY v.created_at DESC, v.name, v.hash
LIMIT %(limit)s OFFSET %(offset)s

-- list_datasets --
SELECT v.*, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash ORDER BY t.tag
) AS tags, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash
        AND t.protected ORDER BY t.tag
) AS protected FROM sophia.dataset_versions v WHERE v.deleted_at IS NULL

-- newest_prepared_dataset --
-- Names of doors stand alone or before a hyphen.
SELECT v.*, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash ORDER BY t.tag
) AS tags, ARRAY(
    SELECT t.tag FROM sophia.dataset_tags t WHERE t.name = v.name AND t.hash = v.hash
        AND t.protected ORDER BY t.tag
) AS protected FROM sophia.dataset_versions v
WHERE v.deleted_at IS NULL
    AND NOT (pg_catalog.split_part(v.name, '-', 1) = ANY (%(doors)s::text[]))
ORDER BY v.created_at DESC, v.name, v.hash LIMIT 1

-- tag_dataset --
INSERT INTO sophia.dataset_tags (name, tag, hash, protected, created_by, created_at)
VALUES (%(name)s, %(tag)s, %(hash)s, %(protected)s, %(by)s, %(at)s)
ON CONFLICT (name, tag) DO UPDATE SET
    hash = excluded.hash, protected = excluded.protected, created_by = excluded.created_by,
    created_at = excluded.created_at

-- untag_dataset --
DELETE FROM sophia.dataset_tags WHERE name = %(name)s AND tag = %(tag)s RETURNING hash

-- drop_dataset_tags --
DELETE FROM sophia.dataset_tags WHERE name = %(name)s AND hash = %(hash)s

-- notice_dataset --
UPDATE sophia.dataset_versions SET notice = %(notice)s WHERE name = %(name)s AND hash = %(hash)s

-- delete_dataset --
-- Not while a job that has not ended names it: none is queued between the look and this.
UPDATE sophia.dataset_versions SET deleted_at = %(at)s, deleted_by = %(by)s
WHERE name = %(name)s AND hash = %(hash)s AND deleted_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM sophia.jobs
    WHERE dataset = %(id)s AND state NOT IN ('succeeded', 'failed', 'cancelled')
)
RETURNING hash

-- trained_on_datasets --
-- What used each version: jobs by kind and state, and models that are not deleted.
SELECT j.dataset AS dataset, 'job' AS what, j.id AS id, j.kind AS kind, j.state AS state
FROM sophia.jobs j WHERE j.dataset = ANY (%(ids)s::text[])
UNION ALL
SELECT m.dataset, 'model', m.id, m.kind, CASE WHEN m.deleted_at IS NULL THEN '' ELSE 'deleted' END
FROM sophia.models m WHERE m.dataset = ANY (%(ids)s::text[])
ORDER BY 1, 2, 3

-- mentions_of_person --
-- Texts are compared without case and accents, as domain.persons.fold does.
SELECT place, id, count(*) AS rows FROM (
    SELECT 'evaluations' AS place, id, report::text AS told FROM sophia.evaluations
    UNION ALL SELECT 'models', id, evaluation::text FROM sophia.models
    UNION ALL SELECT 'jobs', id, pg_catalog.concat_ws(' ', request, result, error, waiting)
        FROM sophia.jobs
    UNION ALL SELECT 'job_events', job_id, data::text FROM sophia.job_events
    UNION ALL SELECT 'notifications', job_id, body::text FROM sophia.notifications
    UNION ALL SELECT 'golden_answers', id, answers::text FROM sophia.golden_answers
    UNION ALL SELECT 'audit', id::text, pg_catalog.concat_ws(' ', target, request) FROM sophia.audit
    UNION ALL SELECT 'ai_events', kind, meta::text FROM sophia.ai_events
    UNION ALL SELECT 'personas', id, document::text FROM sophia.personas
    UNION ALL SELECT 'persona_pairs', persona_id, pg_catalog.concat_ws(' ', input, output)
        FROM sophia.persona_pairs
    UNION ALL SELECT 'persona_interactions', persona_id,
        pg_catalog.concat_ws(' ', input, output, meta) FROM sophia.persona_interactions
    UNION ALL SELECT 'conversation_ratings', conversation_id, comment
        FROM sophia.conversation_ratings
    UNION ALL SELECT 'problem_flags', message_id, details FROM sophia.problem_flags
    UNION ALL SELECT 'review_queue', conversation_id, pg_catalog.concat_ws(' ', reason, notes)
        FROM sophia.review_queue
) AS texts
WHERE %(pattern)s::text IS NOT NULL AND pg_catalog.lower(pg_catalog.regexp_replace(
    pg_catalog.normalize(told, 'NFKD'), '[\u0300-\u036f]', '', 'g'
)) ~ %(pattern)s
GROUP BY place, id
UNION ALL
SELECT 'message_reactions', message_id, count(*) FROM sophia.message_reactions
WHERE message_id = ANY (%(messages)s::text[]) GROUP BY message_id
UNION ALL
SELECT 'conversation_ratings', conversation_id, count(*) FROM sophia.conversation_ratings
WHERE conversation_id = ANY (%(conversations)s::text[]) GROUP BY conversation_id
UNION ALL
SELECT 'problem_flags', message_id, count(*) FROM sophia.problem_flags
WHERE message_id = ANY (%(messages)s::text[]) OR conversation_id = ANY (%(conversations)s::text[])
GROUP BY message_id
UNION ALL
SELECT 'review_queue', conversation_id, count(*) FROM sophia.review_queue
WHERE conversation_id = ANY (%(conversations)s::text[]) GROUP BY conversation_id
ORDER BY 1, 2

-- add_model --
INSERT INTO sophia.models (
    id, kind, base, job_id, dataset, path, evaluation, created_at, shutdown_at, parent, deleted_at,
    version, state, state_reason, state_conditions, state_until, state_by, state_at, files,
    template_fingerprint
) VALUES (
    %(id)s, %(kind)s, %(base)s, %(job_id)s, %(dataset)s, %(path)s, %(evaluation)s, %(created_at)s,
    %(shutdown_at)s, %(parent)s, %(deleted_at)s, %(version)s, %(state)s, %(state_reason)s,
    %(state_conditions)s, %(state_until)s, %(state_by)s, %(state_at)s, %(files)s,
    %(template_fingerprint)s
)

-- get_model --
SELECT * FROM sophia.models WHERE id = %(id)s AND (deleted_at IS NULL OR %(deleted)s)

-- page_models --
SELECT * FROM sophia.models WHERE deleted_at IS NULL ORDER BY created_at DESC, id LIMIT %(limit)s OFFSET %(offset)s

-- known_models --
-- Rows of ours, and what jobs trained from or promotions named that has no row: version 0.
WITH named AS (
    SELECT base AS id, CASE WHEN provider = 'local' THEN 'base' ELSE 'hosted' END AS kind,
        min(created_at) AS created_at
    FROM sophia.jobs WHERE kind = 'train' AND state <> 'draft' GROUP BY 1, 2
    UNION ALL
    SELECT model, 'hosted', min(created_at)
    FROM sophia.promotions, LATERAL (VALUES (model_id), (previous_model)) AS v (model) GROUP BY 1
), strangers AS (
    SELECT DISTINCT ON (id) id, kind, created_at FROM named
    WHERE id NOT IN ('', '-') AND NOT EXISTS (SELECT FROM sophia.models m WHERE m.id = named.id)
    ORDER BY id, kind
), known AS (
    SELECT * FROM sophia.models WHERE deleted_at IS NULL
    UNION ALL
    SELECT made.* FROM strangers s, LATERAL jsonb_populate_record(
        NULL::sophia.models,
        jsonb_build_object(
            'id', s.id, 'kind', s.kind, 'base', s.id, 'created_at', s.created_at, 'version', 0,
            'state', 'candidate', 'state_conditions', '[]'::jsonb
        )
    ) AS made
), judged AS (
    SELECT *, CASE WHEN state = 'conditional' AND state_until <= %(now)s THEN 'expired' ELSE state
        END AS standing
    FROM known
)
SELECT * FROM judged
WHERE (%(id)s::text IS NULL OR id = %(id)s)
    AND (cardinality(%(kinds)s::text[]) = 0 OR kind = ANY (%(kinds)s::text[]))
    AND (cardinality(%(states)s::text[]) = 0 OR standing = ANY (%(states)s::text[]))

-- children_of_model --
SELECT * FROM sophia.models
WHERE parent = %(id)s OR (base = %(id)s AND parent IS NULL AND id <> %(id)s)
ORDER BY created_at, id

-- decide_model --
UPDATE sophia.models AS m SET
    state = %(state)s, state_reason = %(state_reason)s, state_conditions = %(state_conditions)s,
    state_until = %(state_until)s, state_by = %(state_by)s, state_at = %(state_at)s,
    version = m.version + 1
FROM (
    SELECT id, state AS before FROM sophia.models
    WHERE id = %(id)s AND version = %(version)s AND deleted_at IS NULL FOR UPDATE
) AS old
WHERE m.id = old.id
RETURNING m.*, old.before

-- model_exists --
SELECT id FROM sophia.models WHERE id = %(id)s

-- uses_of_model --
-- Why a model may not be deleted: what names it and is in use, or might be put back.
SELECT 'served' AS use, name AS who FROM sophia.deployments
WHERE model_id = %(id)s AND state NOT IN ('stopped', 'failed')
UNION ALL
SELECT 'promoted', id FROM sophia.promotions
WHERE state IN ('pending', 'done') AND (model_id = %(id)s OR previous_model = %(id)s)
UNION ALL
SELECT 'merged', id FROM sophia.models WHERE parent = %(id)s AND deleted_at IS NULL
UNION ALL
SELECT 'worked on', id FROM sophia.jobs
WHERE model_id = %(id)s AND state NOT IN ('succeeded', 'failed', 'cancelled')

-- next_model_number --
INSERT INTO sophia.model_numbers AS n (prefix, last) VALUES (%(prefix)s, 1)
ON CONFLICT (prefix) DO UPDATE SET last = n.last + 1
RETURNING last

-- add_remark --
INSERT INTO sophia.model_remarks (model_id, by, kind, text, detail)
VALUES (%(model_id)s, %(by)s, %(kind)s, %(text)s, %(detail)s)
RETURNING *

-- page_remarks --
SELECT * FROM sophia.model_remarks WHERE model_id = %(model)s
ORDER BY id DESC LIMIT %(limit)s OFFSET %(offset)s

-- add_model_check --
INSERT INTO sophia.model_checks (id, model_id, kind, passed, report, created_by, created_at)
VALUES (
    %(id)s, %(model_id)s, %(kind)s, %(passed)s, %(report)s, %(created_by)s, %(created_at)s
)
ON CONFLICT (id) DO UPDATE SET passed = excluded.passed, report = excluded.report

-- get_model_check --
SELECT * FROM sophia.model_checks WHERE id = %(id)s

-- page_model_checks --
SELECT * FROM sophia.model_checks
WHERE model_id = %(model)s AND (%(kind)s::text IS NULL OR kind = %(kind)s)
ORDER BY created_at DESC, id LIMIT %(limit)s OFFSET %(offset)s

-- add_golden_answers --
INSERT INTO sophia.golden_answers (id, model_id, created_by, created_at, answers)
VALUES (%(id)s, %(model_id)s, %(created_by)s, %(created_at)s, %(answers)s)
ON CONFLICT (id) DO UPDATE SET answers = excluded.answers

-- get_golden_answers --
SELECT * FROM sophia.golden_answers WHERE id = %(id)s

-- page_golden_answers --
SELECT * FROM sophia.golden_answers
WHERE %(model)s::text IS NULL OR model_id = %(model)s
ORDER BY created_at DESC, id LIMIT %(limit)s OFFSET %(offset)s

-- put_provider_models --
INSERT INTO sophia.provider_models (base_url, seen_at, models)
VALUES (%(base_url)s, %(seen_at)s, %(models)s)
ON CONFLICT (base_url) DO UPDATE SET seen_at = excluded.seen_at, models = excluded.models
RETURNING *

-- get_provider_models --
SELECT * FROM sophia.provider_models WHERE base_url = %(base_url)s

-- page_provider_models --
SELECT * FROM sophia.provider_models ORDER BY base_url LIMIT %(limit)s OFFSET %(offset)s

-- add_evaluation --
INSERT INTO sophia.evaluations (id, model_id, dataset, report, created_at)
VALUES (%(id)s, %(model_id)s, %(dataset)s, %(report)s, %(created_at)s)
ON CONFLICT (id) DO UPDATE SET report = excluded.report

-- get_evaluation --
SELECT * FROM sophia.evaluations WHERE id = %(id)s

-- page_evaluations --
SELECT * FROM sophia.evaluations WHERE %(model)s::text IS NULL OR model_id = %(model)s
ORDER BY created_at DESC, id LIMIT %(limit)s OFFSET %(offset)s

-- add_deployment --
INSERT INTO sophia.deployments (
    id, model_id, name, engine, state, folder, port, host, boot_id, pid, process_started,
    created_by, created_at, ready_at, stopped_at, checked_at, restarts, error, version
) VALUES (
    %(id)s, %(model_id)s, %(name)s, %(engine)s, %(state)s, %(folder)s, %(port)s, %(host)s,
    %(boot_id)s, %(pid)s, %(process_started)s, %(created_by)s, %(created_at)s, %(ready_at)s,
    %(stopped_at)s, %(checked_at)s, %(restarts)s, %(error)s, %(version)s
)

-- get_deployment --
SELECT * FROM sophia.deployments WHERE id = %(id)s OR name = %(id)s
ORDER BY id = %(id)s DESC, state IN ('stopped', 'failed'), created_at DESC LIMIT 1

-- page_deployments --
SELECT * FROM sophia.deployments WHERE NOT %(living)s OR state NOT IN ('stopped', 'failed')
ORDER BY created_at DESC, id LIMIT %(limit)s OFFSET %(offset)s

-- list_deployments --
SELECT * FROM sophia.deployments WHERE NOT %(living)s OR state NOT IN ('stopped', 'failed')

-- add_served_requests --
INSERT INTO sophia.served_requests (
    at, model, deployment_id, status, seconds, streamed, first_token_seconds, prompt_tokens,
    completion_tokens, error
)
SELECT * FROM unnest(
    %(at)s::timestamptz[], %(model)s::text[], %(deployment_id)s::text[], %(status)s::integer[],
    %(seconds)s::double precision[], %(streamed)s::boolean[],
    %(first_token_seconds)s::double precision[], %(prompt_tokens)s::integer[],
    %(completion_tokens)s::integer[], %(error)s::text[]
)

-- traffic_summary --
SELECT pg_catalog.to_timestamp(
        floor(extract(epoch FROM at) / %(bucket)s::integer) * %(bucket)s::integer
    ) AS start,
    model, count(*) AS requests, count(*) FILTER (WHERE status >= 400) AS errors,
    coalesce(sum(prompt_tokens), 0) AS prompt_tokens,
    coalesce(sum(completion_tokens), 0) AS completion_tokens,
    avg(seconds) FILTER (WHERE status < 400) AS seconds_mean,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE status < 400) AS seconds_p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE status < 400)
        AS seconds_p95,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY first_token_seconds)
        FILTER (WHERE status < 400) AS first_token_seconds_p50
FROM sophia.served_requests
WHERE at >= %(since)s AND at < %(until)s AND (%(model)s::text IS NULL OR model = %(model)s)
GROUP BY 1, 2 ORDER BY 1, 2

-- traffic_totals --
SELECT %(since)s::timestamptz AS start,
    model, count(*) AS requests, count(*) FILTER (WHERE status >= 400) AS errors,
    coalesce(sum(prompt_tokens), 0) AS prompt_tokens,
    coalesce(sum(completion_tokens), 0) AS completion_tokens,
    avg(seconds) FILTER (WHERE status < 400) AS seconds_mean,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE status < 400) AS seconds_p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE status < 400)
        AS seconds_p95,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY first_token_seconds)
        FILTER (WHERE status < 400) AS first_token_seconds_p50
FROM sophia.served_requests
WHERE at >= %(since)s AND at < %(until)s AND (%(model)s::text IS NULL OR model = %(model)s)
GROUP BY model ORDER BY model

-- traffic_first --
SELECT min(at) AS first FROM sophia.served_requests

-- feedback_by_day --
SELECT (at AT TIME ZONE %(zone)s::text)::date AS day,
    count(*) FILTER (WHERE mark > 0) AS positive, count(*) FILTER (WHERE mark < 0) AS negative,
    count(*) FILTER (WHERE mark = 0) AS other
FROM (
    SELECT created_at AS at, CASE reaction WHEN 'up' THEN 1 ELSE -1 END AS mark
    FROM sophia.message_reactions WHERE created_at >= %(since)s AND created_at < %(until)s
    UNION ALL
    SELECT created_at, rating - 3
    FROM sophia.conversation_ratings WHERE created_at >= %(since)s AND created_at < %(until)s
) AS given
GROUP BY 1 ORDER BY 1

-- feedback_first --
SELECT least(
    (SELECT min(created_at) FROM sophia.message_reactions),
    (SELECT min(created_at) FROM sophia.conversation_ratings)
) AS first

-- add_promotion --
INSERT INTO sophia.promotions (
    id, model_id, previous_model, state, changes, created_by, created_at, finished_at, rolls_back,
    error, notes, step, steps
) VALUES (
    %(id)s, %(model_id)s, %(previous_model)s, %(state)s, %(changes)s, %(created_by)s,
    %(created_at)s, %(finished_at)s, %(rolls_back)s, %(error)s, %(notes)s, %(step)s, %(steps)s
)

-- get_promotion --
SELECT * FROM sophia.promotions WHERE id = %(id)s

-- page_promotions --
SELECT * FROM sophia.promotions ORDER BY created_at DESC, id DESC
LIMIT %(limit)s OFFSET %(offset)s

-- pending_promotion --
SELECT * FROM sophia.promotions WHERE state = 'pending' LIMIT 1

-- finish_promotion --
WITH finished AS (
    UPDATE sophia.promotions SET state = 'done', finished_at = %(finished_at)s
    WHERE id = %(id)s AND state = 'pending' RETURNING *
), back AS (
    UPDATE sophia.promotions SET state = 'rolled_back'
    WHERE id = ANY (%(taken_back)s) AND state = 'done' AND EXISTS (SELECT FROM finished)
)
SELECT * FROM finished

-- all_settings --
SELECT key, value FROM sophia.settings ORDER BY key

-- set_setting --
INSERT INTO sophia.settings (key, value, changed_by) VALUES (%(key)s, %(value)s, %(actor)s)
ON CONFLICT (key) DO UPDATE
SET value = excluded.value, changed_by = excluded.changed_by, changed_at = now()

-- get_setting --
SELECT value FROM sophia.settings WHERE key = %(key)s

-- set_new_setting --
INSERT INTO sophia.settings (key, value, changed_by) VALUES (%(key)s, %(value)s, %(actor)s)
ON CONFLICT (key) DO NOTHING RETURNING key

-- replace_setting --
UPDATE sophia.settings SET value = %(value)s, changed_by = %(actor)s, changed_at = now()
WHERE key = %(key)s AND value = %(before)s RETURNING key

-- unset_known_setting --
DELETE FROM sophia.settings WHERE key = %(key)s AND value = %(before)s RETURNING key

-- unset_setting --
DELETE FROM sophia.settings WHERE key = %(key)s

-- add_audit --
INSERT INTO sophia.audit (
    at, actor, face, role, operation, target, request, outcome, code, seconds
) VALUES (
    %(at)s, %(actor)s, %(face)s, %(role)s, %(operation)s, %(target)s, %(request)s, %(outcome)s,
    %(code)s, %(seconds)s
)

-- changes_in_audit --
SELECT last.newest, done.*
FROM (SELECT coalesce(max(id), 0) AS newest FROM sophia.audit) AS last
LEFT JOIN LATERAL (
    SELECT * FROM sophia.audit
    WHERE id > CASE WHEN %(after)s::bigint < 0 THEN last.newest + %(after)s ELSE %(after)s END
        AND outcome = 'done' AND operation = ANY(%(operations)s)
        AND (%(target)s::text IS NULL OR target = %(target)s)
    ORDER BY id DESC LIMIT 20
) AS done ON true
ORDER BY done.id DESC

-- page_audit --
SELECT * FROM sophia.audit ORDER BY at DESC, id DESC LIMIT %(limit)s OFFSET %(offset)s

-- list_audit --
SELECT * FROM sophia.audit

-- happened_since --
-- Jobs that ended, promotions and ways back in force and what else changed, but for what the
-- person did; `name` where it is the only one.
SELECT 'ended' AS what, state::text AS label, count(*) AS number, min(id) AS name
FROM sophia.jobs
WHERE finished_at >= %(since)s AND state IN ('succeeded', 'failed', 'cancelled')
GROUP BY state
UNION ALL SELECT CASE WHEN rolls_back IS NULL THEN 'promoted' ELSE 'returned' END, model_id,
    count(*), model_id FROM sophia.promotions
WHERE finished_at >= %(since)s AND state = 'done'
    AND (created_by <> %(actor)s OR notes -> 'asked' ->> 'face' = 'worker')
GROUP BY model_id, rolls_back IS NULL
UNION ALL SELECT 'changed', actor, count(*), NULL FROM sophia.audit
WHERE at >= %(since)s AND actor <> %(actor)s AND outcome IN ('done', 'queued')
    AND operation NOT IN ('promote.run', 'promote.rollback')
GROUP BY actor
ORDER BY what DESC, number DESC, label

-- server_version --
SELECT pg_catalog.current_setting('server_version') AS version

-- page_trainings --
-- Trainings of this machine, newest first; `after` is the last one of the page before.
SELECT * FROM sophia.jobs AS j
WHERE j.kind = 'train' AND j.provider = 'local'
    AND (%(after)s::text IS NULL OR (j.created_at, j.place) <
        (SELECT a.created_at, a.place FROM sophia.jobs AS a WHERE a.id = %(after)s))
    AND (%(metadata)s::jsonb IS NULL OR j.request @>
        pg_catalog.jsonb_build_object('tuning',
            pg_catalog.jsonb_build_object('metadata', %(metadata)s::jsonb)))
ORDER BY j.created_at DESC, j.place DESC LIMIT %(limit)s

-- newest_training_of --
-- The newest training that a door asked for under a key of its own.
SELECT * FROM sophia.jobs
WHERE kind = 'train' AND request @> %(part)s::jsonb AND created_at >= %(since)s
ORDER BY created_at DESC, place DESC LIMIT 1

-- events_before --
SELECT * FROM sophia.job_events
WHERE job_id = %(job_id)s AND (%(before)s::bigint IS NULL OR number < %(before)s)
    AND (%(kinds)s::text[] = '{}' OR kind = ANY (%(kinds)s::text[]))
ORDER BY number DESC LIMIT %(limit)s

-- states_before --
SELECT * FROM sophia.job_events
WHERE job_id = %(job_id)s AND (%(before)s::bigint IS NULL OR number < %(before)s)
    AND kind = 'state'
ORDER BY number DESC LIMIT %(limit)s

-- add_file --
INSERT INTO sophia.uploaded_files (
    id, filename, purpose, bytes, sha256, path, host, created_by, created_at, deleted_at
) VALUES (
    %(id)s, %(filename)s, %(purpose)s, %(bytes)s, %(sha256)s, %(path)s, %(host)s, %(created_by)s,
    %(created_at)s, %(deleted_at)s
)

-- get_file --
SELECT * FROM sophia.uploaded_files WHERE id = %(id)s AND deleted_at IS NULL

-- page_files --
SELECT * FROM sophia.uploaded_files AS f
WHERE f.deleted_at IS NULL AND (%(purpose)s::text IS NULL OR f.purpose = %(purpose)s)
    AND (%(after)s::text IS NULL OR (f.created_at, f.id) <
        (SELECT a.created_at, a.id FROM sophia.uploaded_files AS a WHERE a.id = %(after)s))
ORDER BY f.created_at DESC, f.id DESC LIMIT %(limit)s OFFSET %(offset)s

-- page_files_oldest_first --
SELECT * FROM sophia.uploaded_files AS f
WHERE f.deleted_at IS NULL AND (%(purpose)s::text IS NULL OR f.purpose = %(purpose)s)
    AND (%(after)s::text IS NULL OR (f.created_at, f.id) >
        (SELECT a.created_at, a.id FROM sophia.uploaded_files AS a WHERE a.id = %(after)s))
ORDER BY f.created_at, f.id LIMIT %(limit)s OFFSET %(offset)s

-- delete_file --
UPDATE sophia.uploaded_files SET deleted_at = %(at)s WHERE id = %(id)s AND deleted_at IS NULL

-- add_persona --
INSERT INTO sophia.personas (
    id, name, version, document, document_hash, created_by, created_at
) VALUES (
    %(id)s, %(name)s, %(version)s, %(document)s, %(document_hash)s, %(created_by)s, %(created_at)s
) ON CONFLICT (document_hash) DO NOTHING

-- get_persona --
SELECT p.*, (SELECT count(*) FROM sophia.persona_pairs AS q WHERE q.persona_id = p.id) AS pairs
FROM sophia.personas AS p WHERE p.id = %(id)s OR p.document_hash = %(id)s

-- page_personas --
SELECT p.*, (SELECT count(*) FROM sophia.persona_pairs AS q WHERE q.persona_id = p.id) AS pairs
FROM sophia.personas AS p ORDER BY p.created_at DESC, p.id LIMIT %(limit)s OFFSET %(offset)s

-- lock_persona --
SELECT id FROM sophia.personas WHERE id = %(id)s FOR UPDATE

-- add_persona_pair --
INSERT INTO sophia.persona_pairs (persona_id, input, output)
SELECT %(persona_id)s, %(input)s, %(output)s
WHERE NOT EXISTS (
    SELECT FROM sophia.persona_pairs
    WHERE persona_id = %(persona_id)s AND input = %(input)s AND output = %(output)s
)

-- persona_pairs --
SELECT input, output FROM sophia.persona_pairs WHERE persona_id = %(id)s ORDER BY id

-- use_persona_pairs --
UPDATE sophia.persona_pairs SET job_id = %(job_id)s WHERE persona_id = %(id)s AND job_id IS NULL

-- persona_tuned --
UPDATE sophia.personas SET model_id = %(model_id)s WHERE id = %(id)s

-- answer_events --
SELECT id::text AS key, meta FROM sophia.ai_events
WHERE kind = 'answer' AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
ORDER BY created_at DESC, id DESC LIMIT %(limit)s

-- add_schedule --
INSERT INTO sophia.schedules (
    id, operation, request, every, timezone, enabled, created_by, created_at, next_at, last_at,
    last_outcome, last_result, worker_id, changed_by, version
) VALUES (
    %(id)s, %(operation)s, %(request)s, %(every)s, %(timezone)s, %(enabled)s, %(created_by)s,
    %(created_at)s, %(next_at)s, %(last_at)s, %(last_outcome)s, %(last_result)s, %(worker_id)s,
    %(changed_by)s, %(version)s
)

-- get_schedule --
SELECT * FROM sophia.schedules WHERE id = %(id)s

-- page_schedules --
SELECT * FROM sophia.schedules ORDER BY created_at, id LIMIT %(limit)s OFFSET %(offset)s

-- list_schedules --
SELECT * FROM sophia.schedules

-- remove_schedule --
DELETE FROM sophia.schedules WHERE id = %(id)s AND version = %(version)s RETURNING id

-- lock_due_schedule --
SELECT * FROM sophia.schedules WHERE enabled AND next_at <= %(now)s
ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED

-- begin_schedule --
UPDATE sophia.schedules SET next_at = %(next_at)s, last_at = %(now)s, last_outcome = 'running',
    last_result = NULL, worker_id = %(worker)s
WHERE id = %(id)s RETURNING *

-- end_schedule --
UPDATE sophia.schedules SET last_outcome = %(outcome)s, last_result = %(result)s, worker_id = NULL
WHERE id = %(id)s AND worker_id = %(worker)s RETURNING *

-- forsaken_schedules --
SELECT s.* FROM sophia.schedules AS s WHERE s.worker_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM sophia.workers AS w WHERE w.id = s.worker_id
        AND w.seen_at > pg_catalog.now() - pg_catalog.make_interval(secs => %(seconds)s)
)

-- schedules_wait --
SELECT EXISTS (SELECT FROM sophia.schedules WHERE enabled) AS wait

-- add_succession --
INSERT INTO sophia.successions (
    id, model_id, new_model, state, options, steps, created_by, created_at, version
)
VALUES (
    %(id)s, %(model_id)s, %(new_model)s, %(state)s, %(options)s, %(steps)s, %(created_by)s,
    %(created_at)s, %(version)s
)

-- get_succession --
SELECT * FROM sophia.successions WHERE id = %(reference)s OR model_id = %(reference)s
ORDER BY id = %(reference)s DESC, state = 'open' DESC, created_at DESC, id LIMIT 1

-- page_successions --
SELECT * FROM sophia.successions
ORDER BY created_at DESC, id LIMIT %(limit)s OFFSET %(offset)s

-- add_notifications --
INSERT INTO sophia.notifications (job_id, event, channel, body)
SELECT %(job_id)s, %(event)s, c, %(body)s FROM unnest(%(channels)s::text[]) AS c
ON CONFLICT (job_id, event, channel) DO NOTHING

-- take_notifications --
UPDATE sophia.notifications AS n
SET tries = n.tries + 1, next_at = now() + pg_catalog.make_interval(secs => %(seconds)s)
FROM (
    SELECT id FROM sophia.notifications
    WHERE state = 'waiting' AND next_at <= now()
    ORDER BY next_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) AS due
WHERE n.id = due.id
RETURNING n.*

-- notification_sent --
UPDATE sophia.notifications SET state = 'sent', sent_at = now(), error = NULL WHERE id = %(id)s

-- notification_failed --
UPDATE sophia.notifications
SET error = %(error)s,
    state = CASE WHEN %(seconds)s::double precision IS NULL THEN 'given_up' ELSE 'waiting' END,
    next_at = now() + pg_catalog.make_interval(secs => coalesce(%(seconds)s, 0))
WHERE id = %(id)s

-- page_notifications --
SELECT * FROM sophia.notifications ORDER BY created_at DESC, id DESC
LIMIT %(limit)s OFFSET %(offset)s

-- waiting_notifications --
SELECT count(*) AS number FROM sophia.notifications WHERE state = 'waiting'

-- own_tables --
-- Our tables by name, with the bytes they take; not the table that keeps their version.
SELECT c.relname::text AS name, pg_catalog.pg_total_relation_size(c.oid) AS bytes
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'sophia' AND c.relkind = 'r' AND c.relname <> 'alembic_version'
ORDER BY c.relname

-- own_references --
-- Which of our tables points to which.
SELECT c.relname::text AS name, other.relname::text AS points_to
FROM pg_catalog.pg_constraint AS f
JOIN pg_catalog.pg_class AS c ON c.oid = f.conrelid
JOIN pg_catalog.pg_class AS other ON other.oid = f.confrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE f.contype = 'f' AND n.nspname = 'sophia'

-- own_columns --
-- The columns of a table of ours that hold what was put into them, and whether they count by
-- themselves.
SELECT a.attname::text AS name, a.attidentity <> '' AS counts
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'sophia' AND c.relname = %(table)s::text AND a.attnum > 0
    AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum

-- own_functions --
SELECT p.oid::regprocedure::text AS signature
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = 'sophia'

-- unended_jobs --
SELECT id FROM sophia.jobs WHERE state NOT IN ('draft', 'succeeded', 'failed', 'cancelled')
ORDER BY id

-- jobs_with_a_sign --
SELECT id FROM sophia.jobs WHERE state NOT IN ('draft', 'succeeded', 'failed', 'cancelled')
    AND heartbeat_at > now() - pg_catalog.make_interval(secs => %(seconds)s)
ORDER BY id

-- moment --
-- Which transactions are seen: two questions that see the same ones see the same rows. Those that
-- wrote the rows of workers last are told apart, by what is left of their numbers in 32 bits.
SELECT s.seen::text, pg_catalog.txid_snapshot_xmin(s.seen) AS low,
    pg_catalog.txid_snapshot_xmax(s.seen) AS high, w.beats, w.told
FROM (SELECT pg_catalog.txid_current_snapshot() AS seen) AS s, (
    SELECT pg_catalog.array_agg(xmin::text::bigint) AS beats,
        pg_catalog.string_agg(pg_catalog.concat_ws(' ', id, hindrance), ',' ORDER BY id) AS told
    FROM sophia.workers
) AS w

-- gauges --
-- Counts of small tables alone: no event, no served request, no audit entry is looked at.
SELECT 'job' AS what, state::text AS label, count(*)::double precision AS value
FROM sophia.jobs GROUP BY state
UNION ALL SELECT 'promotion', state::text, count(*) FROM sophia.promotions GROUP BY state
UNION ALL SELECT 'waiting', '', count(*) FROM sophia.jobs
    WHERE state = 'queued' AND (not_before IS NULL OR not_before <= now())
UNION ALL SELECT 'oldest', '', coalesce(extract(epoch FROM now() - min(created_at)), 0)
    FROM sophia.jobs WHERE state = 'queued' AND (not_before IS NULL OR not_before <= now())
UNION ALL SELECT 'dataset', '', count(*) FROM sophia.dataset_versions WHERE deleted_at IS NULL
UNION ALL SELECT 'model', '', count(*) FROM sophia.models WHERE deleted_at IS NULL
UNION ALL SELECT 'worker', '', count(*) FROM sophia.workers
    WHERE seen_at > now() - pg_catalog.make_interval(secs => 20)
