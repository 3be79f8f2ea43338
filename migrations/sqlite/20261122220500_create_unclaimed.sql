-- Devices that spoke and that nobody has registered. Each tenant has its own: what one of them delivers takes nothing
-- from another's list.

CREATE TABLE unclaimed (
    -- Its place in lists.
    id                BLOB    NOT NULL CONSTRAINT unclaimed_id_unique UNIQUE
                              CONSTRAINT unclaimed_id_is_uuid CHECK (length(id) = 16),
    -- 16 zero bytes: not known, so only the platform sees it.
    tenant_id         BLOB    NOT NULL,
    network_server_id BLOB    NOT NULL,
    dev_eui           TEXT    NOT NULL,
    name              TEXT    NOT NULL,
    application_id    TEXT,
    device_profile_id TEXT,
    first_seen        INTEGER NOT NULL,
    last_seen         INTEGER NOT NULL,
    events            INTEGER NOT NULL,
    rssi_dbm          INTEGER,
    CONSTRAINT unclaimed_pkey PRIMARY KEY (tenant_id, network_server_id, dev_eui)
) STRICT, WITHOUT ROWID;

CREATE INDEX unclaimed_tenant_idx ON unclaimed (tenant_id, first_seen, id);
CREATE INDEX unclaimed_first_seen_idx ON unclaimed (first_seen, id);
CREATE INDEX unclaimed_dev_eui_idx ON unclaimed (dev_eui);
-- Those not seen for longest give way.
CREATE INDEX unclaimed_last_seen_idx ON unclaimed (tenant_id, last_seen);
