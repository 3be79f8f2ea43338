-- A DevEUI is unique on a network server and no longer over all: tenants may have servers of their own. Root keys,
-- presence and uplink counts come with it.
--
-- A constraint cannot be changed in place, so the table is made anew, and `device_state`, which refers to it: with
-- foreign keys in force, dropping `device` under it would delete every state.

CREATE TABLE device_new (
    id                 BLOB    NOT NULL CONSTRAINT device_pkey PRIMARY KEY
                               CONSTRAINT device_id_is_uuid CHECK (length(id) = 16),
    tenant_id          BLOB    NOT NULL CONSTRAINT device_tenant_fkey REFERENCES tenant (id),
    name               TEXT    NOT NULL,
    description        TEXT    NOT NULL,
    device_type        TEXT    NOT NULL,
    tags               TEXT    NOT NULL CONSTRAINT device_tags_is_json CHECK (json_valid(tags)),
    codec              TEXT    NOT NULL,
    -- The tenant whose server it is on, or 16 zero bytes for the configuration's.
    network_server_id  BLOB    NOT NULL DEFAULT x'00000000000000000000000000000000'
                               CONSTRAINT device_network_server_id_is_uuid CHECK (length(network_server_id) = 16),
    dev_eui            TEXT    CONSTRAINT device_dev_eui_is_eui64
                               CHECK (length(dev_eui) = 16 AND dev_eui NOT GLOB '*[^0-9a-f]*'),
    chirpstack_app_id  TEXT    CONSTRAINT device_chirpstack_app_id_is_uuid CHECK (length(chirpstack_app_id) = 36),
    device_profile_id  TEXT    CONSTRAINT device_device_profile_id_is_uuid CHECK (length(device_profile_id) = 36),
    join_eui           TEXT    CONSTRAINT device_join_eui_is_eui64
                               CHECK (length(join_eui) = 16 AND join_eui NOT GLOB '*[^0-9a-f]*'),
    uplink_interval_ms INTEGER,
    -- Sealed.
    app_key            BLOB,
    -- Grows with every key that is set, also when it is cleared in between.
    app_key_revision   INTEGER NOT NULL DEFAULT 0,
    app_key_default    INTEGER NOT NULL DEFAULT 0
                               CONSTRAINT device_app_key_default_is_bool CHECK (app_key_default IN (0, 1)),
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    version            INTEGER NOT NULL DEFAULT 1,

    -- Written by the device's actor only, for lists to read.
    presence           TEXT    NOT NULL DEFAULT 'never_seen',
    uplinks_heard      INTEGER NOT NULL DEFAULT 0,
    uplinks_missed     INTEGER NOT NULL DEFAULT 0,
    last_seen          INTEGER,
    rssi_dbm           INTEGER,
    snr_db             REAL,
    battery_percent    REAL,
    desired_color      TEXT,
    desired_on_time    INTEGER,
    desired_off_time   INTEGER,
    reported_color     TEXT,
    reported_on_time   INTEGER,
    reported_off_time  INTEGER,
    reported_at        INTEGER,
    -- There is work that a restart has to take up.
    unfinished         INTEGER NOT NULL DEFAULT 0 CONSTRAINT device_unfinished_is_bool CHECK (unfinished IN (0, 1)),

    CONSTRAINT device_dev_eui_unique UNIQUE (network_server_id, dev_eui),
    CONSTRAINT device_desired_whole CHECK (
        (desired_color IS NULL) = (desired_on_time IS NULL) AND (desired_color IS NULL) = (desired_off_time IS NULL)
    ),
    CONSTRAINT device_reported_whole CHECK (
        (reported_color IS NULL) = (reported_on_time IS NULL)
        AND (reported_color IS NULL) = (reported_off_time IS NULL)
        AND (reported_color IS NULL) = (reported_at IS NULL)
    )
) STRICT;

-- ChirpStack's ids were free text: those that are UUIDs in any spelling are kept in the usual one, others dropped.
INSERT INTO device_new (
    id, tenant_id, name, description, device_type, tags, codec, dev_eui, chirpstack_app_id, device_profile_id, join_eui,
    created_at, updated_at, version, presence, last_seen, rssi_dbm, snr_db, battery_percent, desired_color,
    desired_on_time, desired_off_time, reported_color, reported_on_time, reported_off_time, reported_at, unfinished
)
SELECT
    id, tenant_id, name, description, device_type, tags, codec, dev_eui,
    CASE WHEN length(app) = 32 AND app NOT GLOB '*[^0-9a-f]*' THEN
        substr(app, 1, 8) || '-' || substr(app, 9, 4) || '-' || substr(app, 13, 4) || '-' || substr(app, 17, 4) || '-'
        || substr(app, 21)
    END,
    CASE WHEN length(profile) = 32 AND profile NOT GLOB '*[^0-9a-f]*' THEN
        substr(profile, 1, 8) || '-' || substr(profile, 9, 4) || '-' || substr(profile, 13, 4) || '-'
        || substr(profile, 17, 4) || '-' || substr(profile, 21)
    END,
    join_eui, created_at, updated_at, version,
    -- Whoever was heard counts as there, until the silence is noticed.
    CASE WHEN last_seen IS NULL THEN 'never_seen' ELSE 'online' END,
    last_seen, rssi_dbm, snr_db, battery_percent, desired_color, desired_on_time, desired_off_time, reported_color,
    reported_on_time, reported_off_time, reported_at, unfinished
FROM (
    SELECT
        *, replace(lower(chirpstack_app_id), '-', '') AS app, replace(lower(device_profile_id), '-', '') AS profile
    FROM device
);

CREATE TABLE device_state_new (
    device_id BLOB NOT NULL CONSTRAINT device_state_pkey PRIMARY KEY
                   CONSTRAINT device_state_device_fkey REFERENCES device_new (id) ON DELETE CASCADE,
    state     TEXT NOT NULL
) STRICT;

INSERT INTO device_state_new (device_id, state) SELECT device_id, state FROM device_state;

DROP TABLE device_state;
DROP TABLE device;
-- References follow the name.
ALTER TABLE device_new RENAME TO device;
ALTER TABLE device_state_new RENAME TO device_state;

CREATE INDEX device_tenant_idx ON device (tenant_id, created_at, id);
-- A comparison with ChirpStack goes through a tenant's devices in the order of their DevEUIs.
CREATE INDEX device_tenant_dev_eui_idx ON device (tenant_id, dev_eui);
-- The platform names a device by its DevEUI alone.
CREATE INDEX device_dev_eui_idx ON device (dev_eui, network_server_id);
-- A restart with 100,000 devices reads the few that matter.
CREATE INDEX device_unfinished_idx ON device (dev_eui, network_server_id) WHERE unfinished = 1;
-- Who is silent for longest comes first: by the configuration's interval, or when a device's own has passed twice.
CREATE INDEX device_silent_idx ON device (last_seen) WHERE presence = 'online' AND uplink_interval_ms IS NULL;
CREATE INDEX device_silent_own_idx ON device (last_seen + 2 * uplink_interval_ms)
    WHERE presence = 'online' AND uplink_interval_ms IS NOT NULL;
