-- The registry, and what each device's actor keeps of it.

CREATE TABLE device (
    id                BLOB    NOT NULL CONSTRAINT device_pkey PRIMARY KEY
                              CONSTRAINT device_id_is_uuid CHECK (length(id) = 16),
    tenant_id         BLOB    NOT NULL CONSTRAINT device_tenant_fkey REFERENCES tenant (id),
    name              TEXT    NOT NULL,
    description       TEXT    NOT NULL,
    device_type       TEXT    NOT NULL,
    tags              TEXT    NOT NULL CONSTRAINT device_tags_is_json CHECK (json_valid(tags)),
    codec             TEXT    NOT NULL,
    -- Unique over all tenants, as in ChirpStack: an uplink names nothing else.
    dev_eui           TEXT    CONSTRAINT device_dev_eui_unique UNIQUE
                              CONSTRAINT device_dev_eui_is_eui64
                              CHECK (length(dev_eui) = 16 AND dev_eui NOT GLOB '*[^0-9a-f]*'),
    chirpstack_app_id TEXT,
    device_profile_id TEXT,
    join_eui          TEXT    CONSTRAINT device_join_eui_is_eui64
                              CHECK (length(join_eui) = 16 AND join_eui NOT GLOB '*[^0-9a-f]*'),
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    version           INTEGER NOT NULL DEFAULT 1,

    -- Written by the device's actor only, for lists to read.
    last_seen         INTEGER,
    rssi_dbm          INTEGER,
    snr_db            REAL,
    battery_percent   REAL,
    desired_color     TEXT,
    desired_on_time   INTEGER,
    desired_off_time  INTEGER,
    reported_color    TEXT,
    reported_on_time  INTEGER,
    reported_off_time INTEGER,
    reported_at       INTEGER,
    -- There is work that a restart has to take up.
    unfinished        INTEGER NOT NULL DEFAULT 0 CONSTRAINT device_unfinished_is_bool CHECK (unfinished IN (0, 1)),

    CONSTRAINT device_desired_whole CHECK (
        (desired_color IS NULL) = (desired_on_time IS NULL) AND (desired_color IS NULL) = (desired_off_time IS NULL)
    ),
    CONSTRAINT device_reported_whole CHECK (
        (reported_color IS NULL) = (reported_on_time IS NULL)
        AND (reported_color IS NULL) = (reported_off_time IS NULL)
        AND (reported_color IS NULL) = (reported_at IS NULL)
    )
) STRICT;

CREATE INDEX device_tenant_idx ON device (tenant_id, created_at, id);
-- A restart with 100,000 devices reads the few that matter.
CREATE INDEX device_unfinished_idx ON device (dev_eui) WHERE unfinished = 1;

-- The state of the device's machine as text. Apart from `device`, because it is larger, changes with every event and is
-- read by the actor alone.
CREATE TABLE device_state (
    device_id BLOB NOT NULL CONSTRAINT device_state_pkey PRIMARY KEY
                   CONSTRAINT device_state_device_fkey REFERENCES device (id) ON DELETE CASCADE,
    state     TEXT NOT NULL
) STRICT;
