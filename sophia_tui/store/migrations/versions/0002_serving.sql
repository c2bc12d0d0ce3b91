-- A merged model names the adapter it was made of.
ALTER TABLE sophia.models ADD COLUMN parent text REFERENCES sophia.models (id);

-- Every evaluation is kept, so that two can be compared; models.evaluation stays the newest one.
CREATE TABLE sophia.evaluations (
    id text PRIMARY KEY CHECK (id <> ''), -- the id of the job that made it
    model_id text NOT NULL REFERENCES sophia.models (id),
    dataset text,
    report jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX evaluations_of ON sophia.evaluations (model_id, created_at DESC);

CREATE TABLE sophia.deployments (
    id text PRIMARY KEY CHECK (id <> ''),
    model_id text NOT NULL REFERENCES sophia.models (id),
    name text NOT NULL CHECK (name <> ''), -- what clients ask for
    engine text NOT NULL CHECK (engine <> ''),
    state text NOT NULL CHECK (state IN ('starting', 'ready', 'stopping', 'stopped', 'failed')),
    folder text,
    port integer CHECK (port BETWEEN 1 AND 65535),
    host text,
    boot_id text,
    pid integer,
    process_started bigint,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    ready_at timestamptz,
    stopped_at timestamptz,
    checked_at timestamptz,
    restarts integer NOT NULL DEFAULT 0 CHECK (restarts >= 0),
    error jsonb,
    version integer NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX deployments_one_name ON sophia.deployments (name)
    WHERE state NOT IN ('stopped', 'failed');
CREATE INDEX deployments_newest ON sophia.deployments (created_at DESC);

-- Figures of each request that the front answered; never a word of question or answer.
CREATE TABLE sophia.served_requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    model text NOT NULL, -- '' where the name asked for is unknown
    deployment_id text REFERENCES sophia.deployments (id),
    status integer NOT NULL,
    seconds double precision NOT NULL CHECK (seconds >= 0),
    streamed boolean NOT NULL DEFAULT false,
    first_token_seconds double precision CHECK (first_token_seconds >= 0),
    prompt_tokens integer CHECK (prompt_tokens >= 0),
    completion_tokens integer CHECK (completion_tokens >= 0),
    error text
);
CREATE INDEX served_requests_at ON sophia.served_requests (at);
CREATE INDEX served_requests_model ON sophia.served_requests (model, at);
