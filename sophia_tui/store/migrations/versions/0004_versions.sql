-- A deleted version's files are gone; that it existed, and what it was made of, stays known.
ALTER TABLE sophia.dataset_versions ADD COLUMN deleted_at timestamptz;
ALTER TABLE sophia.dataset_versions ADD COLUMN deleted_by text;
-- Why it should be used no more: kind, successor, rows, at, by. Never whose data it holds.
ALTER TABLE sophia.dataset_versions ADD COLUMN notice jsonb;

-- Names that people give to versions: name@tag may stand wherever a version is named.
CREATE TABLE sophia.dataset_tags (
    name text NOT NULL,
    tag text NOT NULL CHECK (tag <> ''),
    hash text NOT NULL,
    protected boolean NOT NULL DEFAULT false,
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, tag),
    FOREIGN KEY (name, hash) REFERENCES sophia.dataset_versions (name, hash) ON DELETE CASCADE
);
CREATE INDEX dataset_tags_version ON sophia.dataset_tags (name, hash);
