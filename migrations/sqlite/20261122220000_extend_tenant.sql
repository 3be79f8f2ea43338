-- What the platform's administrators decide about tenants, tenants' own network servers, and the proof that secrets are
-- sealed with the key that is configured.

ALTER TABLE tenant ADD COLUMN chirpstack_tenant_id TEXT
    CONSTRAINT tenant_chirpstack_tenant_id_is_uuid CHECK (length(chirpstack_tenant_id) = 36);
ALTER TABLE tenant ADD COLUMN devices_max INTEGER
    CONSTRAINT tenant_devices_max_not_negative CHECK (devices_max >= 0);
ALTER TABLE tenant ADD COLUMN commands_per_minute INTEGER
    CONSTRAINT tenant_commands_per_minute_not_negative CHECK (commands_per_minute >= 0);
ALTER TABLE tenant ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenant ADD COLUMN version INTEGER NOT NULL DEFAULT 1;

UPDATE tenant SET updated_at = created_at;

-- A webhook tells ChirpStack's tenant: it must not be two of ours.
CREATE UNIQUE INDEX tenant_chirpstack_tenant_id_unique ON tenant (chirpstack_tenant_id);

ALTER TABLE api_key ADD COLUMN requests_per_minute INTEGER
    CONSTRAINT api_key_requests_per_minute_positive CHECK (requests_per_minute >= 1);

CREATE TABLE network_server (
    tenant_id  BLOB    NOT NULL CONSTRAINT network_server_pkey PRIMARY KEY
                       CONSTRAINT network_server_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    url        TEXT    NOT NULL,
    -- Sealed.
    api_key    BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    version    INTEGER NOT NULL DEFAULT 1
) STRICT;

-- One row: a constant, sealed. What does not open it opens no other secret here.
CREATE TABLE seal_check (
    id     INTEGER NOT NULL CONSTRAINT seal_check_pkey PRIMARY KEY
                   CONSTRAINT seal_check_is_one_row CHECK (id = 1),
    sealed BLOB    NOT NULL
) STRICT;
