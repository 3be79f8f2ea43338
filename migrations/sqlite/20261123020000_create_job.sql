-- Commands to many devices, and what becomes of each device.
--
-- `body` is what does not change: the order, the plan. `counts` are those of the items, by state, written with them. A job
-- is `preparing` while its items are written down in batches; nobody sees it before it is begun.

CREATE TABLE job (
    id          BLOB    NOT NULL CONSTRAINT job_pkey PRIMARY KEY
                        CONSTRAINT job_id_is_uuid CHECK (length(id) = 16),
    tenant_id   BLOB    NOT NULL CONSTRAINT job_tenant_fkey REFERENCES tenant (id) ON DELETE CASCADE,
    kind        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    body        TEXT    NOT NULL CONSTRAINT job_body_is_json CHECK (json_valid(body)),
    counts      TEXT    NOT NULL CONSTRAINT job_counts_is_json CHECK (json_valid(counts)),
    spent_ms    INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    created_by  TEXT    NOT NULL,
    retry_of    BLOB,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

CREATE INDEX job_tenant_idx ON job (tenant_id, created_at, id);
-- What a restart takes up.
CREATE INDEX job_unfinished_idx ON job (created_at) WHERE finished_at IS NULL;
CREATE INDEX job_finished_idx ON job (finished_at) WHERE finished_at IS NOT NULL;

-- A device without a DevEUI, or that nobody knows, is left out of the job and says so here.
CREATE TABLE job_item (
    job_id            BLOB    NOT NULL CONSTRAINT job_item_job_fkey REFERENCES job (id) ON DELETE CASCADE,
    seq               INTEGER NOT NULL,
    device_id         BLOB,
    network_server_id BLOB,
    dev_eui           TEXT,
    -- The command's id, chosen before it is given: whoever takes the job up looks it up.
    downlink_id       BLOB    NOT NULL,
    state             TEXT    NOT NULL,
    reason            TEXT,
    attempts          INTEGER NOT NULL,
    handed_over_at    INTEGER,
    finished_at       INTEGER,
    CONSTRAINT job_item_pkey PRIMARY KEY (job_id, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_item_state_idx ON job_item (job_id, state, seq);
