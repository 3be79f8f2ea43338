-- Requests that may be repeated, and what was answered. A row without answer is under way, or was cut short.

CREATE TABLE idempotency (
    -- The tenant's id, or 16 zero bytes for the platform: a primary key holds no NULL.
    scope        BLOB    NOT NULL,
    key_hash     BLOB    NOT NULL CONSTRAINT idempotency_key_is_sha256 CHECK (length(key_hash) = 32),
    operation    TEXT    NOT NULL,
    request_hash BLOB    NOT NULL CONSTRAINT idempotency_request_is_sha256 CHECK (length(request_hash) = 32),
    resource_id  BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    status       INTEGER,
    body         BLOB,
    CONSTRAINT idempotency_pkey PRIMARY KEY (scope, key_hash, operation),
    CONSTRAINT idempotency_answer_whole CHECK ((status IS NULL) = (body IS NULL))
) STRICT;

CREATE INDEX idempotency_created_idx ON idempotency (created_at);
