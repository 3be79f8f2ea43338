//! How faults are told to people: in a sentence, bounded, without secrets.

use super::event::SyncFailure;
use super::state::CallKind;

/// Characters of a sentence.
const LENGTH_MAX: usize = 300;

/// So many hex digits in a row may be a key.
const KEY_DIGITS: usize = 32;

/// What went wrong with a call.
pub(super) fn of_failure(kind: CallKind, failure: &SyncFailure) -> String {
    let doing = match kind {
        CallKind::Look { .. } => "show the device",
        CallKind::Create => "create the device",
        CallKind::Update => "update the device",
        CallKind::Delete => "delete the device",
        CallKind::SetKey { .. } => "set the device's key",
    };
    bounded(&match failure {
        SyncFailure::Unavailable => "ChirpStack cannot be reached.".to_owned(),
        SyncFailure::AnswerLost => {
            format!("ChirpStack did not answer in time when asked to {doing}.")
        }
        SyncFailure::Refused(text) => format!("ChirpStack failed to {doing}: {text}"),
        SyncFailure::UnknownDevice => match kind {
            CallKind::Create => "ChirpStack has no such application or device profile in this tenant.".to_owned(),
            CallKind::Update => "ChirpStack has no such device, application or device profile in this tenant.".to_owned(),
            CallKind::Look { .. } | CallKind::Delete | CallKind::SetKey { .. } => {
                format!("ChirpStack has no such device any more when asked to {doing}.")
            }
        },
        SyncFailure::Unauthenticated => {
            "ChirpStack does not accept the API key. Check the key that is configured for this network server.".to_owned()
        }
        SyncFailure::Invalid(text) => {
            format!("ChirpStack takes the request to {doing} for invalid: {text}")
        }
    })
}

/// A Create was refused, and there is no device that would explain it.
pub(super) fn of_refusal(text: &str) -> String {
    bounded(&format!(
        "ChirpStack refused to create the device and shows none with this DevEUI; another tenant there may have it: {text}"
    ))
}

/// One line of at most 300 characters, with what looks like a key masked.
pub(super) fn bounded(text: &str) -> String {
    let words = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    let line = masked(&words.collect::<Vec<_>>().join(" "));
    if line.chars().count() <= LENGTH_MAX {
        return line;
    }
    let mut short: String = line.chars().take(LENGTH_MAX - 1).collect();
    short.push('…');
    short
}

/// `ChirpStack`'s errors may repeat what it was sent.
fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, from_start) = rest.split_at(start);
        let end = from_start
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(from_start.len());
        let (digits, after) = from_start.split_at(end);
        masked.push_str(before);
        masked.push_str(if digits.len() < KEY_DIGITS {
            digits
        } else {
            "***"
        });
        rest = after;
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_bounded_line() {
        let text = format!("two\nlines\0 and {}", "much ".repeat(100));
        let told = bounded(&text);
        assert!(told.starts_with("two lines and much much"), "{told}");
        assert_eq!(told.chars().count(), LENGTH_MAX);
        assert!(told.ends_with('…'));
        assert_eq!(bounded("ö"), "ö");
    }

    #[test]
    fn keys_are_masked_and_identifiers_are_not() {
        let told = bounded(
            "key 00112233445566778899AABBCCDDEEFF of 70b3d57ed0000001 in 1a2b7fa4-7f26-4109-bc88-d0b5abe764e0",
        );
        assert_eq!(
            told,
            "key *** of 70b3d57ed0000001 in 1a2b7fa4-7f26-4109-bc88-d0b5abe764e0"
        );
    }
}
