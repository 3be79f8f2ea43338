//! What users decide about a device, as they write it and as the registry takes it. JSON bodies, merge patches, CSV
//! lines and what is taken over from ChirpStack all go through [`WriteDevice::checked`], so that a device that one door
//! lets in is one that every door shows.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_core::app_key::AppKey;
use downbeat_core::codec::CodecKind;
use downbeat_core::id::DevEui;
use downbeat_core::sync::OWNER_TAG;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::extract::{Fields, NAME_MAX, Patch};
use crate::http::policy::PolicyBody;
use crate::http::problem::ApiError;
use crate::store::{Device, DeviceFields};

const DESCRIPTION_MAX: usize = 2_000;
const TAGS_MAX: usize = 32;

/// How often a device may be said to speak, seconds: up to once in 30 days.
const UPLINK_INTERVAL_S: std::ops::RangeInclusive<u32> = 10..=30 * 24 * 3600;

/// A device as its users want it. What is absent or null has its default.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "Desk 12", "tags": {"floor": "2"}, "lorawan_dev_eui": "202020410a3f0012",
    "chirpstack_app_id": "da9605e6-da81-49e0-b789-29bd8a051bc6",
    "device_profile_id": "b72b3130-32e0-4ab5-a7b5-ef1cddb9d204",
}))]
pub(in crate::http) struct WriteDevice {
    /// 1 to 100 characters, none of them a control character.
    #[schema(min_length = 1, max_length = 100)]
    pub(in crate::http) name: String,
    /// What kind of thing it is, in your own words; at most 100 characters.
    #[serde(default)]
    #[schema(max_length = 100)]
    pub(in crate::http) device_type: Option<String>,
    /// At most 2000 characters.
    #[serde(default)]
    #[schema(max_length = 2000)]
    pub(in crate::http) description: Option<String>,
    /// Your own labels, at most 32; names have 1 to 100 characters, values at most 100. `downbeat_device_id` is taken.
    #[serde(default)]
    pub(in crate::http) tags: Option<BTreeMap<String, String>>,
    /// 16 hex digits, not all of them 0; unique on a network server. Without the ChirpStack fields below, somebody else
    /// keeps the device in ChirpStack: it is heard and commanded, and not kept in step.
    #[serde(default)]
    #[schema(example = "202020410a3f0012")]
    pub(in crate::http) lorawan_dev_eui: Option<String>,
    /// ChirpStack's application, a UUID; together with `device_profile_id`, and with a DevEUI only. The device is then
    /// kept in step with ChirpStack.
    #[serde(default)]
    pub(in crate::http) chirpstack_app_id: Option<String>,
    /// ChirpStack's device profile, a UUID; together with `chirpstack_app_id`.
    #[serde(default)]
    pub(in crate::http) device_profile_id: Option<String>,
    /// 16 hex digits; with `chirpstack_app_id` only.
    #[serde(default)]
    pub(in crate::http) join_eui: Option<String>,
    /// 32 hex digits; with `chirpstack_app_id` only. It is kept encrypted and never shown. In a change: the one that is
    /// there stays if absent, and is forgotten if null.
    #[serde(default)]
    #[schema(value_type = Option<String>, write_only)]
    pub(in crate::http) app_key: Patch<SecretText>,
    /// `kuando_busylight`, if absent, or `generic`.
    #[serde(default)]
    pub(in crate::http) codec: Option<String>,
    /// How often it speaks on its own, 10 to 2592000 s; the configuration's interval if absent. It counts as offline
    /// after twice that.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 10, maximum = 2_592_000)]
    pub(in crate::http) uplink_interval_s: Option<i64>,
    /// What it has otherwise than its tenant and the configuration; nothing if absent.
    #[serde(default)]
    pub(in crate::http) policy: Option<PolicyBody>,
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(in crate::http) struct SecretText(pub(in crate::http) String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A change of a device: what is absent stays, null clears (JSON merge patch, RFC 7396).
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Desk 13", "tags": {"floor": "3", "window": null}}))]
pub(in crate::http) struct PatchDevice {
    /// As when it is registered; cannot be cleared.
    #[serde(default)]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 100)]
    name: Patch<String>,
    /// As when it is registered.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 100)]
    device_type: Patch<String>,
    /// As when it is registered.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 2000)]
    description: Patch<String>,
    /// Tags that are not named stay; a null takes one away, or all.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    tags: Patch<BTreeMap<String, Option<String>>>,
    /// As when it is registered. Another DevEUI is another device on the air: what the old one said is forgotten.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    lorawan_dev_eui: Patch<String>,
    /// As when it is registered. Clear it together with `device_profile_id`, and the device leaves ChirpStack.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    chirpstack_app_id: Patch<String>,
    /// As when it is registered.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    device_profile_id: Patch<String>,
    /// As when it is registered.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    join_eui: Patch<String>,
    /// As when it is registered.
    #[serde(default)]
    #[schema(value_type = Option<String>, write_only)]
    app_key: Patch<SecretText>,
    /// As when it is registered.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    codec: Patch<String>,
    /// As when it is registered.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 10, maximum = 2_592_000)]
    uplink_interval_s: Patch<i64>,
    /// As when it is registered: the whole of it takes the place of what is there.
    #[serde(default)]
    #[schema(value_type = Option<PolicyBody>)]
    policy: Patch<PolicyBody>,
}

/// A device as the registry takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct WantedDevice {
    pub(in crate::http) fields: DeviceFields,
    pub(in crate::http) app_key: Patch<AppKey>,
}

impl WriteDevice {
    /// A device as it is, the way its users would write it.
    pub(in crate::http) fn of(device: &Device) -> Self {
        let fields = &device.fields;
        let interval = fields.uplink_interval.map(|it| it.as_secs());
        Self {
            name: fields.name.clone(),
            device_type: Some(fields.device_type.clone()),
            description: Some(fields.description.clone()),
            tags: Some(fields.tags.clone()),
            lorawan_dev_eui: fields.dev_eui.map(|it| it.to_string()),
            chirpstack_app_id: fields.chirpstack_app_id.map(|it| it.to_string()),
            device_profile_id: fields.device_profile_id.map(|it| it.to_string()),
            join_eui: fields.join_eui.map(|it| it.to_string()),
            app_key: Patch::Keep,
            codec: Some(fields.codec.name().to_owned()),
            uplink_interval_s: interval.and_then(|it| i64::try_from(it).ok()),
            policy: Some(PolicyBody::of(&fields.policy)),
        }
    }

    /// The same, with every wrong field named.
    pub(in crate::http) fn checked(self) -> Result<WantedDevice, ApiError> {
        let mut fields = Fields::default();
        let name = fields.name("name", &self.name);
        let device_type = self.device_type.unwrap_or_default();
        fields.check(
            length(&device_type) <= NAME_MAX && is_plain(&device_type),
            "device_type",
            "must have at most 100 characters, none of them a control character",
        );
        let description = self.description.unwrap_or_default();
        fields.check(
            length(&description) <= DESCRIPTION_MAX && is_prose(&description),
            "description",
            "must have at most 2000 characters, no control characters but tabs and line ends",
        );
        let tags = self.tags.unwrap_or_default();
        check_tags(&tags, &mut fields);
        let codec = self.codec.as_deref().map(CodecKind::by_name);
        fields.check(
            codec != Some(None),
            "codec",
            "must be kuando_busylight or generic",
        );
        let dev_eui: Option<DevEui> =
            fields.parsed("lorawan_dev_eui", self.lorawan_dev_eui.as_deref());
        fields.check(
            dev_eui.is_none_or(|it| it.as_u64() != 0),
            "lorawan_dev_eui",
            "must not be all zeroes: that is no device",
        );
        let app_id: Option<Uuid> =
            fields.parsed("chirpstack_app_id", self.chirpstack_app_id.as_deref());
        let profile_id: Option<Uuid> =
            fields.parsed("device_profile_id", self.device_profile_id.as_deref());
        let app_key = match self.app_key {
            Patch::Keep => Patch::Keep,
            Patch::Clear => Patch::Clear,
            Patch::Set(SecretText(text)) => {
                let key: Option<AppKey> = fields.parsed("app_key", Some(&text));
                key.map_or(Patch::Keep, Patch::Set)
            }
        };
        let together = Together {
            dev_eui: self.lorawan_dev_eui.is_some(),
            app_id: self.chirpstack_app_id.is_some(),
            profile_id: self.device_profile_id.is_some(),
            join_eui: self.join_eui.is_some(),
            app_key: matches!(app_key, Patch::Set(_)),
        };
        together.check(&mut fields);
        let interval = fields.within(
            "uplink_interval_s",
            self.uplink_interval_s,
            UPLINK_INTERVAL_S,
        );
        let checked = DeviceFields {
            name,
            description,
            device_type,
            tags,
            codec: codec.flatten().unwrap_or(CodecKind::KuandoBusylight),
            dev_eui,
            chirpstack_app_id: app_id,
            device_profile_id: profile_id,
            join_eui: fields.parsed("join_eui", self.join_eui.as_deref()),
            uplink_interval: interval.map(|it| Duration::from_secs(it.into())),
            policy: self.policy.unwrap_or_default().checked(&mut fields),
        };
        fields.done(WantedDevice {
            fields: checked,
            app_key,
        })
    }
}

impl PatchDevice {
    /// The device as it is wanted after the change.
    pub(in crate::http) fn over(self, device: &Device) -> Result<WriteDevice, ApiError> {
        let current = WriteDevice::of(device);
        if self.name == Patch::Clear {
            return Err(ApiError::field("name", "cannot be cleared"));
        }
        let tags = match self.tags {
            Patch::Keep => current.tags,
            Patch::Clear => None,
            Patch::Set(changes) => {
                let mut tags = current.tags.unwrap_or_default();
                for (tag, value) in changes {
                    match value {
                        Some(value) => drop(tags.insert(tag, value)),
                        None => drop(tags.remove(&tag)),
                    }
                }
                Some(tags)
            }
        };
        Ok(WriteDevice {
            name: self.name.over(Some(current.name)).unwrap_or_default(),
            device_type: self.device_type.over(current.device_type),
            description: self.description.over(current.description),
            tags,
            lorawan_dev_eui: self.lorawan_dev_eui.over(current.lorawan_dev_eui),
            chirpstack_app_id: self.chirpstack_app_id.over(current.chirpstack_app_id),
            device_profile_id: self.device_profile_id.over(current.device_profile_id),
            join_eui: self.join_eui.over(current.join_eui),
            app_key: self.app_key,
            codec: self.codec.over(current.codec),
            uplink_interval_s: self.uplink_interval_s.over(current.uplink_interval_s),
            policy: self.policy.over(current.policy),
        })
    }
}

/// Which of the fields are given that only make sense with others.
struct Together {
    dev_eui: bool,
    app_id: bool,
    profile_id: bool,
    join_eui: bool,
    app_key: bool,
}

impl Together {
    fn check(&self, fields: &mut Fields) {
        let kept_in_step = self.app_id || self.profile_id;
        for (name, is_given) in [
            ("chirpstack_app_id", self.app_id),
            ("device_profile_id", self.profile_id),
        ] {
            fields.check(
                is_given || !kept_in_step,
                name,
                "is missing: chirpstack_app_id and device_profile_id belong together",
            );
        }
        fields.check(
            self.dev_eui || !kept_in_step,
            "lorawan_dev_eui",
            "is missing: ChirpStack knows a device by its DevEUI",
        );
        for (name, is_given) in [("join_eui", self.join_eui), ("app_key", self.app_key)] {
            fields.check(
                !is_given || kept_in_step,
                name,
                "belongs to a device with chirpstack_app_id and device_profile_id",
            );
        }
    }
}

fn check_tags(tags: &BTreeMap<String, String>, fields: &mut Fields) {
    fields.check(tags.len() <= TAGS_MAX, "tags", "must be at most 32");
    for (tag, value) in tags {
        let holds = (1..=NAME_MAX).contains(&length(tag)) && length(value) <= NAME_MAX;
        if !(holds && is_plain(tag) && is_plain(value)) {
            fields.wrong(
                "tags",
                "must have names of 1 to 100 and values of at most 100 characters, none of them a control character",
            );
            break;
        }
    }
    fields.check(
        !tags.contains_key(OWNER_TAG),
        "tags",
        "must not name downbeat_device_id: by that tag ChirpStack's device names ours",
    );
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Whether a text has no control characters.
pub(in crate::http) fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// Whether a text has no control characters but tabs and line ends.
fn is_prose(text: &str) -> bool {
    text.chars()
        .all(|it| !it.is_control() || matches!(it, '\t' | '\n' | '\r'))
}
