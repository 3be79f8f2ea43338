-- Where ChirpStack and the registry differ, as the last comparison found, and when that was.

CREATE TABLE drift_check (
    tenant_id  BLOB    NOT NULL CONSTRAINT drift_check_pkey PRIMARY KEY
                       CONSTRAINT drift_check_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    checked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE drift (
    tenant_id         BLOB    NOT NULL CONSTRAINT drift_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    dev_eui           TEXT    NOT NULL,
    device_id         BLOB,
    kind              TEXT    NOT NULL,
    chirpstack_name   TEXT,
    application_id    TEXT,
    device_profile_id TEXT,
    differences       TEXT    NOT NULL CONSTRAINT drift_differences_is_json CHECK (json_valid(differences)),
    found_at          INTEGER NOT NULL,
    ignored           INTEGER NOT NULL CONSTRAINT drift_ignored_is_bool CHECK (ignored IN (0, 1)),
    CONSTRAINT drift_pkey PRIMARY KEY (tenant_id, dev_eui)
) STRICT, WITHOUT ROWID;
