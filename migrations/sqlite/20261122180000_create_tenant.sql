-- Who uses Downbeat, and the keys they use it with.
--
-- Ids are UUIDs as 16 bytes, times are milliseconds of UTC since the Unix epoch, in every table.

CREATE TABLE tenant (
    id         BLOB    NOT NULL CONSTRAINT tenant_pkey PRIMARY KEY
                       CONSTRAINT tenant_id_is_uuid CHECK (length(id) = 16),
    name       TEXT    NOT NULL CONSTRAINT tenant_name_unique UNIQUE
                       CONSTRAINT tenant_name_not_empty CHECK (name <> ''),
    created_at INTEGER NOT NULL
) STRICT;

-- The key itself is never stored. Without a tenant it is a key of the platform.
CREATE TABLE api_key (
    id           BLOB    NOT NULL CONSTRAINT api_key_pkey PRIMARY KEY
                         CONSTRAINT api_key_id_is_uuid CHECK (length(id) = 16),
    tenant_id    BLOB    CONSTRAINT api_key_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    role         TEXT    NOT NULL
                         CONSTRAINT api_key_role_known CHECK (role IN ('admin', 'operator', 'viewer', 'webhook')),
    name         TEXT    NOT NULL,
    prefix       TEXT    NOT NULL,
    hash         BLOB    NOT NULL CONSTRAINT api_key_hash_unique UNIQUE
                         CONSTRAINT api_key_hash_is_sha256 CHECK (length(hash) = 32),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;

CREATE INDEX api_key_tenant_idx ON api_key (tenant_id);
