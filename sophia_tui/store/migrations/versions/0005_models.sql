-- Registry: an exported model is a file in another form (GGUF) of its parent.
ALTER TABLE sophia.models DROP CONSTRAINT models_kind_check;
ALTER TABLE sophia.models ADD CONSTRAINT models_kind_check
    CHECK (kind IN ('hosted', 'adapter', 'merged', 'exported', 'base'));
ALTER TABLE sophia.models ADD COLUMN state text NOT NULL DEFAULT 'candidate'
    CHECK (state IN ('candidate', 'approved', 'conditional', 'rejected', 'retired'));
-- Why it has this state, what it depends on and until when it holds (conditional), who said so.
ALTER TABLE sophia.models ADD COLUMN state_reason text;
ALTER TABLE sophia.models ADD COLUMN state_conditions jsonb NOT NULL DEFAULT '[]';
ALTER TABLE sophia.models ADD COLUMN state_until timestamptz;
ALTER TABLE sophia.models ADD COLUMN state_by text;
ALTER TABLE sophia.models ADD COLUMN state_at timestamptz;
-- Its files by name: bytes and sha256; null while nobody has looked.
ALTER TABLE sophia.models ADD COLUMN files jsonb;
-- The SHA-256 of the chat template that it was trained with.
ALTER TABLE sophia.models ADD COLUMN template_fingerprint text;

-- Every state that a model had, and every note on it; never changed, never deleted.
CREATE TABLE sophia.model_remarks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id text NOT NULL REFERENCES sophia.models (id),
    at timestamptz NOT NULL DEFAULT now(),
    by text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('note', 'state')),
    text text NOT NULL DEFAULT '',
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX model_remarks_newest ON sophia.model_remarks (model_id, id DESC);

-- Parity and gate: each check of a model, kept for good; `id` is the job's where one did it.
CREATE TABLE sophia.model_checks (
    id text PRIMARY KEY CHECK (id <> ''),
    model_id text NOT NULL REFERENCES sophia.models (id),
    kind text NOT NULL CHECK (kind IN ('parity', 'gate')),
    passed boolean NOT NULL,
    report jsonb NOT NULL,
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX model_checks_newest ON sophia.model_checks (model_id, kind, created_at DESC);

-- Promotion: which step was begun last, so that what was cut off is finished or undone.
ALTER TABLE sophia.promotions ADD COLUMN step text NOT NULL DEFAULT '';
ALTER TABLE sophia.promotions ADD COLUMN steps jsonb NOT NULL DEFAULT '[]';

-- Calendar: what the provider's list of models said last, by address.
CREATE TABLE sophia.provider_models (
    base_url text PRIMARY KEY,
    seen_at timestamptz NOT NULL,
    models jsonb NOT NULL
);

-- Golden answers of a model: what it said to which prompt, to be held against its successor.
CREATE TABLE sophia.golden_answers (
    id text PRIMARY KEY CHECK (id <> ''),
    model_id text NOT NULL,
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    answers jsonb NOT NULL
);
CREATE INDEX golden_answers_newest ON sophia.golden_answers (model_id, created_at DESC);

-- People are told of models that end as well: `job_id` names such a one as model:NAME.
ALTER TABLE sophia.notifications DROP CONSTRAINT notifications_job_id_fkey;

-- The way off a model that ends: golden answers, data set, training, comparison, promotion. `steps`
-- has what was done of each; one way is under way for a model at a time.
CREATE TABLE sophia.successions (
    id text PRIMARY KEY CHECK (id <> ''),
    model_id text NOT NULL,
    new_model text,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done')),
    options jsonb NOT NULL DEFAULT '{}',
    steps jsonb NOT NULL DEFAULT '{}',
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    version integer NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX successions_open ON sophia.successions (model_id) WHERE state = 'open';
CREATE INDEX successions_newest ON sophia.successions (created_at DESC, id);
