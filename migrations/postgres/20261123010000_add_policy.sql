-- What a tenant or a device has otherwise than the configuration says, as a JSON object, and how far a device's
-- initialisation is, as its actor last stored it.

ALTER TABLE tenant ADD COLUMN policy text COLLATE "C" NOT NULL DEFAULT '{}';
ALTER TABLE device
    ADD COLUMN policy text COLLATE "C" NOT NULL DEFAULT '{}',
    ADD COLUMN initialisation text COLLATE "C";
