-- What outcomes are counted by, beside the downlink: how it was last transmitted, and how long its proof took. Filled in
-- as downlinks are written; those of before have none, and are gone when they have been kept long enough.

ALTER TABLE downlink
    ADD COLUMN gateway_id       text COLLATE "C",
    ADD COLUMN spreading_factor bigint,
    -- From acceptance to the proof, ms, rounded to half a percent so that there are few of them; only of verified ones.
    ADD COLUMN verified_in      bigint;

-- Holds all that is counted, in the order in which it is: a million outcomes are counted without a look at their rows,
-- and without sorting.
CREATE INDEX downlink_outcome_idx ON downlink
    (tenant_id, state, gateway_id, spreading_factor, reason, verified_in, finished_at, attempts, device_id)
    WHERE finished_at IS NOT NULL;

-- A device's downlinks stay its own under another DevEUI.
CREATE INDEX downlink_device_idx ON downlink (device_id, created_at, id);

-- What has ended is kept for a while.
GRANT DELETE ON downlink, downlink_step TO downbeat_service;
