-- Requests that may be repeated, and what was answered. A row without answer is under way, or was cut short.

CREATE TABLE idempotency (
    -- The tenant's id, or the nil UUID for the platform: a primary key holds no NULL.
    scope        uuid    NOT NULL,
    key_hash     bytea   NOT NULL CONSTRAINT idempotency_key_is_sha256 CHECK (octet_length(key_hash) = 32),
    operation    text COLLATE "C" NOT NULL,
    request_hash bytea   NOT NULL CONSTRAINT idempotency_request_is_sha256 CHECK (octet_length(request_hash) = 32),
    resource_id  uuid    NOT NULL,
    created_at   bigint  NOT NULL,
    status       bigint,
    body         bytea,
    CONSTRAINT idempotency_pkey PRIMARY KEY (scope, key_hash, operation),
    CONSTRAINT idempotency_answer_whole CHECK ((status IS NULL) = (body IS NULL))
);

CREATE INDEX idempotency_created_idx ON idempotency (created_at);

ALTER TABLE idempotency ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY idempotency_scope ON idempotency
    USING (scope = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (scope = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency TO downbeat_service;
