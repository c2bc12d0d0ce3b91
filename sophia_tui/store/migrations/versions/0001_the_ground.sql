-- The loop: data sets, jobs and what they tell, models, promotions.

CREATE TABLE sophia.dataset_versions (
    name text NOT NULL CHECK (name <> ''),
    hash text NOT NULL CHECK (hash ~ '^[0-9a-f]{12,}$'),
    folder text NOT NULL,
    counts jsonb NOT NULL,
    manifest jsonb NOT NULL DEFAULT '{}',
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, hash)
);
CREATE INDEX dataset_versions_newest ON sophia.dataset_versions (created_at DESC);
CREATE INDEX dataset_versions_hash ON sophia.dataset_versions (hash text_pattern_ops);

CREATE TABLE sophia.jobs (
    id text PRIMARY KEY CHECK (id <> ''),
    kind text NOT NULL,
    state text NOT NULL CHECK (state <> ''), -- ours, or a provider's own word
    base text NOT NULL,
    dataset text,
    request jsonb NOT NULL,
    provider text NOT NULL DEFAULT 'local',
    provider_job_id text,
    model_id text,
    resulting_model text,
    files text[] NOT NULL DEFAULT '{}',
    run_folder text,
    host text,
    boot_id text,
    pid integer,
    process_started bigint,
    worker_id text,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    heartbeat_at timestamptz,
    last_event bigint NOT NULL DEFAULT 0 CHECK (last_event >= 0),
    event_offset bigint NOT NULL DEFAULT 0 CHECK (event_offset >= 0),
    step bigint,
    total_steps bigint,
    loss double precision,
    seconds_left double precision,
    resumes integer NOT NULL DEFAULT 0 CHECK (resumes >= 0),
    resumes_forgiven integer NOT NULL DEFAULT 0 CHECK (resumes_forgiven BETWEEN 0 AND resumes),
    wanted text CHECK (wanted IN ('cancel', 'pause', 'resume')),
    error jsonb,
    result jsonb,
    version integer NOT NULL DEFAULT 1,
    place bigint GENERATED ALWAYS AS IDENTITY -- order in the queue, also within one instant
);
CREATE UNIQUE INDEX jobs_provider ON sophia.jobs (provider, provider_job_id)
    WHERE provider_job_id IS NOT NULL;
CREATE INDEX jobs_queue ON sophia.jobs (place) WHERE state = 'queued';
CREATE INDEX jobs_unended ON sophia.jobs (host)
    WHERE state NOT IN ('draft', 'succeeded', 'failed', 'cancelled');
CREATE INDEX jobs_newest ON sophia.jobs (created_at DESC, place DESC);

CREATE TABLE sophia.job_events (
    job_id text NOT NULL REFERENCES sophia.jobs (id) ON DELETE CASCADE,
    number bigint NOT NULL CHECK (number > 0),
    at timestamptz NOT NULL,
    kind text NOT NULL,
    data jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (job_id, number)
);

CREATE TABLE sophia.workers (
    id text PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sophia.models (
    id text PRIMARY KEY CHECK (id <> ''),
    kind text NOT NULL CHECK (kind IN ('hosted', 'adapter', 'merged', 'base')),
    base text NOT NULL,
    job_id text REFERENCES sophia.jobs (id),
    dataset text,
    path text,
    evaluation jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    shutdown_at timestamptz,
    version integer NOT NULL DEFAULT 1
);
CREATE INDEX models_newest ON sophia.models (created_at DESC);

CREATE TABLE sophia.model_numbers (
    prefix text PRIMARY KEY,
    last integer NOT NULL CHECK (last > 0)
);

CREATE TABLE sophia.promotions (
    id text PRIMARY KEY CHECK (id <> ''),
    model_id text NOT NULL, -- also a name that Sophia did not make
    previous_model text,
    state text NOT NULL CHECK (state IN ('pending', 'done', 'undone', 'rolled_back')),
    changes jsonb NOT NULL DEFAULT '[]',
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    rolls_back text REFERENCES sophia.promotions (id),
    error jsonb,
    notes jsonb NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX promotions_one_pending ON sophia.promotions ((true)) WHERE state = 'pending';
CREATE INDEX promotions_newest ON sophia.promotions (created_at DESC);

CREATE TABLE sophia.settings (
    key text PRIMARY KEY,
    value text NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sophia.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    face text NOT NULL,
    role text NOT NULL,
    operation text NOT NULL,
    target text,
    request jsonb NOT NULL DEFAULT '{}',
    outcome text NOT NULL,
    code text,
    seconds double precision NOT NULL DEFAULT 0
);
CREATE INDEX audit_newest ON sophia.audit (at DESC, id DESC);

CREATE FUNCTION sophia.audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit can only be added to';
END
$$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON sophia.audit
    FOR EACH STATEMENT EXECUTE FUNCTION sophia.audit_is_append_only();

-- People's judgement of conversations (section 2). The owner's ids are kept as text: they may be
-- uuids or integers, and lie in a database of theirs, so no foreign key points there.

CREATE TABLE sophia.message_reactions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL,
    reaction text NOT NULL CHECK (reaction IN ('up', 'down')),
    given_as text, -- the sign as it came, e.g. an emoji
    origin text NOT NULL DEFAULT 'api' CHECK (origin IN ('api', 'whatsapp', 'widget', 'console')),
    given_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (message_id, origin, given_by)
);
CREATE INDEX message_reactions_newest ON sophia.message_reactions (created_at);

CREATE TABLE sophia.conversation_ratings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id text NOT NULL,
    rating smallint NOT NULL CHECK (rating BETWEEN 1 AND 5),
    comment text,
    origin text NOT NULL DEFAULT 'api' CHECK (origin IN ('api', 'whatsapp', 'widget', 'console')),
    given_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX conversation_ratings_of ON sophia.conversation_ratings (conversation_id, created_at);
CREATE INDEX conversation_ratings_newest ON sophia.conversation_ratings (created_at);

CREATE TABLE sophia.problem_flags (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL,
    conversation_id text,
    problem_type text NOT NULL CHECK (problem_type <> ''),
    details text,
    given_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    resolved_by text,
    resolved_at timestamptz,
    CHECK ((resolved_at IS NULL) = (resolved_by IS NULL))
);
CREATE INDEX problem_flags_message ON sophia.problem_flags (message_id);
CREATE INDEX problem_flags_open ON sophia.problem_flags (conversation_id) WHERE resolved_at IS NULL;

CREATE TABLE sophia.review_queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id text NOT NULL,
    priority integer NOT NULL DEFAULT 0,
    reason text NOT NULL CHECK (reason <> ''),
    reviewer text,
    claimed_at timestamptz,
    decision text CHECK (decision IN ('approved', 'rejected')),
    notes text,
    decided_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1,
    CHECK ((reviewer IS NULL) = (claimed_at IS NULL)),
    CHECK ((decision IS NULL) = (decided_at IS NULL)),
    CHECK (decision IS NULL OR reviewer IS NOT NULL)
);
CREATE UNIQUE INDEX review_queue_once ON sophia.review_queue (conversation_id)
    WHERE decision IS NULL;
CREATE INDEX review_queue_next ON sophia.review_queue (priority DESC, created_at)
    WHERE decision IS NULL AND reviewer IS NULL;

CREATE TABLE sophia.review_scores (
    review_id bigint NOT NULL REFERENCES sophia.review_queue (id) ON DELETE CASCADE,
    criterion text NOT NULL CHECK (criterion <> ''),
    score smallint NOT NULL CHECK (score BETWEEN 0 AND 10),
    PRIMARY KEY (review_id, criterion)
);

-- Adaptive training from events (section 3).

CREATE TABLE sophia.ai_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id text,
    kind text NOT NULL CHECK (kind <> ''),
    value double precision,
    meta jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ai_events_kind ON sophia.ai_events (tenant_id, kind, created_at);

CREATE TABLE sophia.ai_daily (
    day date NOT NULL,
    tenant_id text NOT NULL DEFAULT '',
    ndcg double precision CHECK (ndcg BETWEEN 0 AND 1),
    fallback_rate double precision CHECK (fallback_rate BETWEEN 0 AND 1),
    retrievals integer NOT NULL DEFAULT 0 CHECK (retrievals >= 0),
    answers integer NOT NULL DEFAULT 0 CHECK (answers >= 0),
    fallbacks integer NOT NULL DEFAULT 0 CHECK (fallbacks >= 0),
    computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (day, tenant_id)
);

-- Personas (section 5).

CREATE TABLE sophia.personas (
    id text PRIMARY KEY CHECK (id LIKE 'did:%'),
    name text NOT NULL CHECK (name <> ''),
    version text NOT NULL,
    document jsonb NOT NULL, -- role, description, system prompt, traits, languages, base model
    document_hash text NOT NULL UNIQUE,
    model_id text REFERENCES sophia.models (id),
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sophia.persona_pairs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    persona_id text NOT NULL REFERENCES sophia.personas (id) ON DELETE CASCADE,
    input text NOT NULL,
    output text NOT NULL,
    job_id text REFERENCES sophia.jobs (id), -- the first tuning that used it
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX persona_pairs_of ON sophia.persona_pairs (persona_id, id);

CREATE TABLE sophia.persona_interactions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    persona_id text NOT NULL REFERENCES sophia.personas (id) ON DELETE CASCADE,
    input text NOT NULL,
    output text NOT NULL,
    meta jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX persona_interactions_of ON sophia.persona_interactions (persona_id, created_at);
