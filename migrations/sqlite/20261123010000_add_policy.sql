-- What a tenant or a device has otherwise than the configuration says, as a JSON object, and how far a device's
-- initialisation is, as its actor last stored it.

ALTER TABLE tenant ADD COLUMN policy TEXT NOT NULL DEFAULT '{}'
    CONSTRAINT tenant_policy_is_json CHECK (json_valid(policy));
ALTER TABLE device ADD COLUMN policy TEXT NOT NULL DEFAULT '{}'
    CONSTRAINT device_policy_is_json CHECK (json_valid(policy));
ALTER TABLE device ADD COLUMN initialisation TEXT
    CONSTRAINT device_initialisation_is_json CHECK (json_valid(initialisation));
