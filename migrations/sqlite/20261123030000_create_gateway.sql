-- What is known of gateways, and of how each device gets on with them. Written once a minute what changed, and read when
-- the service starts: what shows them asks the service's memory.

CREATE TABLE gateway (
    -- Whose network server it is on: a tenant's own, or 16 zero bytes for the configuration's.
    tenant_id  BLOB    NOT NULL CONSTRAINT gateway_tenant_id_is_uuid CHECK (length(tenant_id) = 16),
    gateway_id TEXT    NOT NULL CONSTRAINT gateway_id_is_eui64
                       CHECK (length(gateway_id) = 16 AND gateway_id NOT GLOB '*[^0-9a-f]*'),
    record     TEXT    NOT NULL CONSTRAINT gateway_record_is_json CHECK (json_valid(record)),
    updated_at INTEGER NOT NULL,
    CONSTRAINT gateway_pkey PRIMARY KEY (tenant_id, gateway_id)
) STRICT, WITHOUT ROWID;

-- What is old enough is deleted.
CREATE INDEX gateway_updated_idx ON gateway (updated_at);

CREATE TABLE device_link (
    device_id  BLOB    NOT NULL CONSTRAINT device_link_pkey PRIMARY KEY
                       CONSTRAINT device_link_device_fkey REFERENCES device (id) ON DELETE CASCADE,
    -- As the device was called: under another one it is another, as far as gateways hear.
    dev_eui    TEXT    NOT NULL,
    -- All links of the device: they are read and written together, and there are only so many.
    links      TEXT    NOT NULL CONSTRAINT device_link_links_is_json CHECK (json_valid(links)),
    updated_at INTEGER NOT NULL
) STRICT;
