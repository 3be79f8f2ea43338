//! What a tenant or a device has otherwise than the configuration, as the API takes and shows it.

use downbeat_core::device::PolicySettings;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Fields;

/// Numbers and switches of a downlink's life. What is absent is as it is otherwise: a device's beat its tenant's, and
/// those the configuration's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"attempts": 6, "reconcile": false}))]
pub(super) struct PolicyBody {
    /// Attempts of a command in all, 1 to 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 20)]
    attempts: Option<i64>,
    /// Seconds before the second attempt, 1 to 3600; doubled for each further one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 3600)]
    backoff_s: Option<i64>,
    /// Seconds from acceptance until no attempt is begun any more, 1 to 604800.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 604_800)]
    ttl_s: Option<i64>,
    /// Attempts are not counted out, but go on until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    until_deadline: Option<bool>,
    /// Least seconds that a device has to prove a command that went out, 5 to 86400.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 5, maximum = 86_400)]
    window_s: Option<i64>,
    /// Whether a device that shows something else than wanted is told again.
    #[serde(skip_serializing_if = "Option::is_none")]
    reconcile: Option<bool>,
    /// Least seconds between two such commands, 1 to 86400.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 86_400)]
    reconcile_pause_s: Option<i64>,
    /// Reports in a row without a downlink, 1 to 200, after which the wanted light is sent again, before the device's
    /// watchdog would restart it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 200)]
    refresh_after: Option<i64>,
    /// Whether a device that joined or restarted gets the settings that its codec wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    initialise: Option<bool>,
}

impl PolicyBody {
    pub(super) fn of(settings: &PolicySettings) -> Self {
        Self {
            attempts: settings.attempts.map(i64::from),
            backoff_s: settings.backoff_s.map(i64::from),
            ttl_s: settings.ttl_s.map(i64::from),
            until_deadline: settings.until_deadline,
            window_s: settings.window_s.map(i64::from),
            reconcile: settings.reconcile,
            reconcile_pause_s: settings.reconcile_pause_s.map(i64::from),
            refresh_after: settings.refresh_after.map(i64::from),
            initialise: settings.initialise,
        }
    }

    /// The same as the registry takes it, with every wrong number named.
    pub(super) fn checked(&self, fields: &mut Fields) -> PolicySettings {
        let mut number = |field: &str, value: Option<i64>| {
            let number = value?;
            let number = u32::try_from(number).ok();
            if number.is_none() {
                fields.wrong(format!("policy.{field}"), "is out of bounds");
            }
            number
        };
        let attempts = number("attempts", self.attempts);
        let settings = PolicySettings {
            attempts: attempts.map(|attempts| u8::try_from(attempts).unwrap_or(u8::MAX)),
            backoff_s: number("backoff_s", self.backoff_s),
            ttl_s: number("ttl_s", self.ttl_s),
            until_deadline: self.until_deadline,
            window_s: number("window_s", self.window_s),
            reconcile: self.reconcile,
            reconcile_pause_s: number("reconcile_pause_s", self.reconcile_pause_s),
            refresh_after: number("refresh_after", self.refresh_after),
            initialise: self.initialise,
        };
        for wrong in settings.out_of_bounds() {
            fields.wrong(format!("policy.{}", wrong.field), wrong.to_string());
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::ApiError;

    fn read(body: serde_json::Value) -> Result<PolicySettings, ApiError> {
        let body: PolicyBody = serde_json::from_value(body).unwrap();
        let mut fields = Fields::default();
        let settings = body.checked(&mut fields);
        assert!(fields.has_wrong() || PolicyBody::of(&settings) == body);
        fields.done(settings)
    }

    #[test]
    fn what_is_set_is_read_and_the_rest_is_left_as_it_is() {
        let settings = read(serde_json::json!({"attempts": 7, "initialise": false})).unwrap();
        let expected = PolicySettings {
            attempts: Some(7),
            initialise: Some(false),
            ..PolicySettings::default()
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let wrong = read(serde_json::json!({
            "attempts": 300, "ttl_s": -1, "window_s": 4, "refresh_after": 201, "backoff_s": 1,
        }));
        let Err(ApiError::Invalid(errors)) = wrong else {
            panic!("{wrong:?}");
        };
        let mut named: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        named.sort_unstable();
        let expected = [
            "policy.attempts",
            "policy.refresh_after",
            "policy.ttl_s",
            "policy.window_s",
        ];
        assert_eq!(named, expected);
    }
}
