-- The owner's tables as the sample database has them: the ones that Sophia reads and never alters.
-- No foreign keys: the sample rows dangle on purpose, as they do in production.

CREATE TABLE docs (
    id         integer PRIMARY KEY,
    content    text,
    title      text,
    updated_at timestamptz
);

CREATE TABLE qa_cache (
    qhash      text PRIMARY KEY,
    question   text,
    answer     text,
    citations  jsonb,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX qa_cache_created_at ON qa_cache (created_at);

CREATE TABLE feedback (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    query_hash text,
    doc_id     integer,
    signal     smallint,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feedback_query_hash ON feedback (query_hash);
CREATE INDEX feedback_doc_id ON feedback (doc_id);

CREATE TABLE customers (
    id     integer PRIMARY KEY,
    name   text,
    email  text,
    phone  text,
    source text,
    status text
);
CREATE INDEX customers_email ON customers (lower(email));

CREATE TABLE conversations (
    id          integer PRIMARY KEY,
    customer_id integer,
    channel     text NOT NULL,
    status      text NOT NULL,
    subject     text,
    session_id  text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX conversations_customer_id ON conversations (customer_id);
CREATE INDEX conversations_status_created_at ON conversations (status, created_at);
CREATE INDEX conversations_session_id ON conversations (session_id);

CREATE TABLE messages (
    id              bigint PRIMARY KEY,
    conversation_id integer NOT NULL,
    content         text,
    sender_type     text NOT NULL,
    sender_id       text,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX messages_conversation_id_created_at ON messages (conversation_id, created_at);
