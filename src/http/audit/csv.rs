//! Entries as CSV for spreadsheets (RFC 4180), in which no cell is taken for a formula.

use std::borrow::Cow;

use super::AuditEntryBody;

/// The names of the columns.
pub(super) const HEADER: [&str; 11] = [
    "id",
    "at",
    "tenant_id",
    "action",
    "object_id",
    "key_id",
    "name",
    "address",
    "request_id",
    "before",
    "after",
];

/// An entry's cells.
pub(super) fn cells(entry: &AuditEntryBody) -> [String; 11] {
    let json = |value: &Option<serde_json::Value>| {
        value.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    [
        entry.id.clone(),
        entry.at.clone(),
        text(&entry.tenant_id),
        entry.action.clone(),
        entry.object_id.clone(),
        text(&entry.key_id),
        entry.name.clone(),
        text(&entry.address),
        text(&entry.request_id),
        json(&entry.before),
        json(&entry.after),
    ]
    .map(|cell| guarded(&cell).into_owned())
}

/// A cell that a spreadsheet would take for a formula gets an apostrophe before it, which it shows as text.
fn guarded(cell: &str) -> Cow<'_, str> {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"] {
            assert_eq!(guarded(cell), format!("'{cell}"));
        }
        for cell in ["", "Desk 1", "{\"name\":\"=1\"}", "a=1", "2026-01-01"] {
            assert_eq!(guarded(cell), cell);
        }
    }
}
