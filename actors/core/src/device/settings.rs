//! What a tenant or a device has otherwise than the configuration says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::policy::Policy;

/// Numbers of a downlink's life that are set for one tenant or one device. What is absent is as it was before: a
/// device's beat its tenant's, and those the configuration's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    /// Attempts of a downlink in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u8>,
    /// Seconds before the second attempt; doubled for each further one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_s: Option<u32>,
    /// Seconds from acceptance until no attempt is begun any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u32>,
    /// Whether attempts go on, uncounted, until the time to live is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_deadline: Option<bool>,
    /// Least seconds that a device has to prove a transmitted downlink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<u32>,
    /// Whether a device that shows something else than wanted is told again without being asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<bool>,
    /// Least seconds between two such commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconcile_pause_s: Option<u32>,
    /// Reports in a row without a downlink after which the wanted light is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_after: Option<u32>,
    /// Whether a device that joined or restarted gets its settings without being asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialise: Option<bool>,
}

/// A setting that is out of its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be from {least} to {most}")]
pub struct SettingOutOfBounds {
    /// Its name.
    pub field: &'static str,
    /// The least that it may be.
    pub least: u32,
    /// The most.
    pub most: u32,
}

const DAY_S: u32 = 24 * 60 * 60;

impl PolicySettings {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those that are out of their bounds.
    pub fn out_of_bounds(&self) -> Vec<SettingOutOfBounds> {
        [
            ("attempts", self.attempts.map(u32::from), 1, 20),
            ("backoff_s", self.backoff_s, 1, 60 * 60),
            ("ttl_s", self.ttl_s, 1, 7 * DAY_S),
            ("window_s", self.window_s, 5, DAY_S),
            ("reconcile_pause_s", self.reconcile_pause_s, 1, DAY_S),
            // The Busylight's watchdog fires after 240, and one report or another may be lost.
            ("refresh_after", self.refresh_after, 1, 200),
        ]
        .into_iter()
        .filter(|(_, value, least, most)| {
            value.is_some_and(|value| !(*least..=*most).contains(&value))
        })
        .map(|(field, _, least, most)| SettingOutOfBounds { field, least, most })
        .collect()
    }

    /// The policy with these settings in it.
    pub fn applied_to(&self, policy: &Policy) -> Policy {
        let seconds = |value: Option<u32>, otherwise: Duration| {
            value.map_or(otherwise, |value| Duration::from_secs(value.into()))
        };
        let reconcile_pause = seconds(self.reconcile_pause_s, policy.reconcile_pause);
        Policy {
            attempts_max: self.attempts.unwrap_or(policy.attempts_max),
            backoff: seconds(self.backoff_s, policy.backoff),
            command_ttl: seconds(self.ttl_s, policy.command_ttl),
            until_deadline: self.until_deadline.unwrap_or(policy.until_deadline),
            window_min: seconds(self.window_s, policy.window_min),
            reconcile: self.reconcile.unwrap_or(policy.reconcile),
            reconcile_pause,
            reconcile_pause_max: policy.reconcile_pause_max.max(reconcile_pause),
            refresh_after: self.refresh_after.unwrap_or(policy.refresh_after),
            initialise: self.initialise.unwrap_or(policy.initialise),
            ..policy.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_beats_its_tenant_and_both_the_configuration() {
        let tenant = PolicySettings {
            attempts: Some(2),
            backoff_s: Some(7),
            reconcile: Some(false),
            ..PolicySettings::default()
        };
        let device = PolicySettings {
            attempts: Some(9),
            until_deadline: Some(true),
            ..PolicySettings::default()
        };
        let policy = device.applied_to(&tenant.applied_to(&Policy::default()));
        let expected = Policy {
            attempts_max: 9,
            backoff: Duration::from_secs(7),
            reconcile: false,
            until_deadline: true,
            ..Policy::default()
        };
        assert_eq!(policy, expected);
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let settings = PolicySettings {
            attempts: Some(0),
            ttl_s: Some(8 * DAY_S),
            window_s: Some(5),
            ..PolicySettings::default()
        };
        let named: Vec<_> = settings
            .out_of_bounds()
            .iter()
            .map(|wrong| wrong.field)
            .collect();
        assert_eq!(named, ["attempts", "ttl_s"]);
    }

    #[test]
    fn what_is_stored_is_what_was_set_and_no_more() {
        let settings = PolicySettings {
            initialise: Some(false),
            ..PolicySettings::default()
        };
        let text = serde_json::to_string(&settings).expect("it can be written");
        assert_eq!(text, r#"{"initialise":false}"#);
        assert_eq!(
            serde_json::from_str::<PolicySettings>(&text).expect("it was written"),
            settings
        );
        assert!(serde_json::from_str::<PolicySettings>(r#"{"retries":1}"#).is_err());
    }
}
