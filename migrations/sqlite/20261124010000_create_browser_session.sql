-- Browsers that are signed in, so that a restart signs nobody out. The secret itself, the cookie's value, is never stored.

CREATE TABLE browser_session (
    id        BLOB    NOT NULL CONSTRAINT browser_session_pkey PRIMARY KEY
                      CONSTRAINT browser_session_id_is_uuid CHECK (length(id) = 16),
    -- The key's; without one it is the platform's.
    tenant_id BLOB    CONSTRAINT browser_session_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    -- Without one it was begun with a local ticket.
    key_id    BLOB    CONSTRAINT browser_session_key_fkey REFERENCES api_key (id) ON DELETE CASCADE,
    hash      BLOB    NOT NULL CONSTRAINT browser_session_hash_unique UNIQUE
                      CONSTRAINT browser_session_hash_is_sha256 CHECK (length(hash) = 32),
    began_at  INTEGER NOT NULL,
    used_at   INTEGER NOT NULL,
    -- Where it was begun, and what the browser calls itself.
    address   TEXT,
    agent     TEXT
) STRICT;

CREATE INDEX browser_session_tenant_idx ON browser_session (tenant_id);
CREATE INDEX browser_session_key_idx ON browser_session (key_id);
