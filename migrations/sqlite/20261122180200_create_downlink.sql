-- Commands and their timelines.
--
-- A downlink names its device without a foreign key: it stays when the device is deleted, and a device deleted in the
-- same instant must not refuse a batch that holds other devices' work. The columns beside `body` are copies for lists
-- and counts; `body` is the whole downlink as its device's machine described it last.

CREATE TABLE downlink (
    id          BLOB    NOT NULL CONSTRAINT downlink_pkey PRIMARY KEY
                        CONSTRAINT downlink_id_is_uuid CHECK (length(id) = 16),
    device_id   BLOB    NOT NULL,
    tenant_id   BLOB    NOT NULL,
    dev_eui     TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    reason      TEXT,
    attempts    INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    finished_at INTEGER,
    -- The newest step that `body` reflects, so that a repeated write never puts an older one in its place.
    steps       INTEGER NOT NULL,
    body        TEXT    NOT NULL
) STRICT;

CREATE INDEX downlink_tenant_idx ON downlink (tenant_id, created_at, id);
CREATE INDEX downlink_dev_eui_idx ON downlink (dev_eui, created_at, id);
CREATE INDEX downlink_created_idx ON downlink (created_at, id);
CREATE INDEX downlink_state_idx ON downlink (state, created_at, id);

CREATE TABLE downlink_step (
    downlink_id BLOB    NOT NULL,
    seq         INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    body        TEXT    NOT NULL,
    CONSTRAINT downlink_step_pkey PRIMARY KEY (downlink_id, seq)
) STRICT, WITHOUT ROWID;
