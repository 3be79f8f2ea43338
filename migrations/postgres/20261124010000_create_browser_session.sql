-- Browsers that are signed in, so that a restart signs nobody out. The secret itself, the cookie's value, is never stored.

CREATE TABLE browser_session (
    id        uuid   NOT NULL CONSTRAINT browser_session_pkey PRIMARY KEY,
    -- The key's; without one it is the platform's.
    tenant_id uuid   CONSTRAINT browser_session_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    -- Without one it was begun with a local ticket.
    key_id    uuid   CONSTRAINT browser_session_key_fkey REFERENCES api_key (id) ON DELETE CASCADE,
    hash      bytea  NOT NULL CONSTRAINT browser_session_hash_unique UNIQUE
                     CONSTRAINT browser_session_hash_is_sha256 CHECK (octet_length(hash) = 32),
    began_at  bigint NOT NULL,
    used_at   bigint NOT NULL,
    -- Where it was begun, and what the browser calls itself.
    address   text,
    agent     text
);

CREATE INDEX browser_session_tenant_idx ON browser_session (tenant_id);
CREATE INDEX browser_session_key_idx ON browser_session (key_id);

ALTER TABLE browser_session ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY browser_session_scope ON browser_session
    USING (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()))
    WITH CHECK (tenant_id = ANY ((SELECT downbeat_tenants())::uuid[]) OR (SELECT downbeat_platform()));
GRANT SELECT, INSERT, UPDATE, DELETE ON browser_session TO downbeat_service;
