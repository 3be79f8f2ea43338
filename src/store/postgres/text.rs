//! Texts that PostgreSQL cannot hold.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::store::DeviceFields;

/// A text as a column or something to compare with one. PostgreSQL's texts hold no NUL, and one of them would refuse a
/// whole batch; it becomes U+FFFD, as bytes do that are no text.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Tags as JSON. There a NUL can be written, but not be compared with.
pub(super) fn tags(tags: &BTreeMap<String, String>) -> String {
    let plain: BTreeMap<_, _> = tags
        .iter()
        .map(|(tag, value)| (text(tag), text(value)))
        .collect();
    serde_json::json!(plain).to_string()
}

/// What users say of a device, as it is kept: tags are made plain where they are written.
pub(super) fn plain_fields(fields: &mut DeviceFields) {
    for field in [
        &mut fields.name,
        &mut fields.description,
        &mut fields.device_type,
    ] {
        if let Cow::Owned(plain) = text(field) {
            *field = plain;
        }
    }
    if fields
        .tags
        .iter()
        .any(|(tag, value)| tag.contains('\0') || value.contains('\0'))
    {
        let tags = std::mem::take(&mut fields.tags);
        let plain = |word: String| text(&word).into_owned();
        fields.tags = tags
            .into_iter()
            .map(|(tag, value)| (plain(tag), plain(value)))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_replaced_and_nothing_else() {
        assert_eq!(text("a\0b\0"), "a\u{fffd}b\u{fffd}");
        assert!(matches!(text("\\u0000 ö"), Cow::Borrowed("\\u0000 ö")));
        let both = BTreeMap::from([("k\0".to_owned(), "v\0\\u0000".to_owned())]);
        assert_eq!(tags(&both), "{\"k\u{fffd}\":\"v\u{fffd}\\\\u0000\"}");
    }
}
