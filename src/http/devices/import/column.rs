//! The columns of a CSV file of devices.

use std::collections::{BTreeMap, BTreeSet};

use crate::csv::unguarded;
use crate::http::devices::fields::{SecretText, WantedDevice, WriteDevice};
use crate::http::extract::{Fields, Patch};
use crate::http::problem::ApiError;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    Name,
    DeviceType,
    Description,
    /// All tags, as a JSON object.
    Tags,
    /// One tag.
    Tag(String),
    DevEui,
    AppId,
    ProfileId,
    JoinEui,
    AppKey,
    Codec,
    UplinkInterval,
}

/// What a file's columns are called and hold.
const COLUMNS: [(&str, Column); 11] = [
    ("name", Column::Name),
    ("device_type", Column::DeviceType),
    ("description", Column::Description),
    ("tags", Column::Tags),
    ("lorawan_dev_eui", Column::DevEui),
    ("chirpstack_app_id", Column::AppId),
    ("device_profile_id", Column::ProfileId),
    ("join_eui", Column::JoinEui),
    ("app_key", Column::AppKey),
    ("codec", Column::Codec),
    ("uplink_interval_s", Column::UplinkInterval),
];

impl Column {
    fn by_name(name: &str) -> Option<Self> {
        if let Some(tag) = name.strip_prefix("tag:") {
            return (!tag.is_empty()).then(|| Self::Tag(tag.to_owned()));
        }
        let found = COLUMNS.iter().find(|(known, _)| *known == name);
        found.map(|(_, column)| column.clone())
    }
}

/// The columns of a header, each there once.
pub(super) fn of_header(cells: &[String]) -> Result<Vec<Column>, ApiError> {
    let mut fields = Fields::default();
    let mut columns = Vec::with_capacity(cells.len());
    let mut seen = BTreeSet::new();
    for cell in cells {
        let name = unguarded(cell).trim();
        let Some(column) = Column::by_name(name) else {
            let known: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
            let message = format!(
                "is not a column; columns are {} and tag:<name>",
                known.join(", ")
            );
            fields.wrong(name, message);
            continue;
        };
        fields.check(seen.insert(column.clone()), name, "is there twice");
        columns.push(column);
    }
    let has_one_tag = columns.iter().any(|it| matches!(it, Column::Tag(_)));
    fields.check(
        !(has_one_tag && columns.contains(&Column::Tags)),
        "tags",
        "excludes columns of single tags",
    );
    fields.check(
        columns.contains(&Column::Name) || columns.contains(&Column::DevEui),
        "name",
        "is missing: a device is told by its lorawan_dev_eui or its name",
    );
    fields.done(columns)
}

/// A device as a line wants it: what the file has columns for, over what there is. Every wrong cell is named.
pub(super) fn wanted(
    columns: &[Column],
    cells: &[String],
    current: WriteDevice,
) -> Result<WantedDevice, ApiError> {
    let mut fields = Fields::default();
    let mut device = current;
    for (column, cell) in columns.iter().zip(cells) {
        let cell = unguarded(cell);
        let text = (!cell.is_empty()).then(|| cell.to_owned());
        let word = Some(cell.trim())
            .filter(|it| !it.is_empty())
            .map(str::to_owned);
        match column {
            Column::Name => device.name = text.unwrap_or_default(),
            Column::DeviceType => device.device_type = text,
            Column::Description => device.description = text,
            Column::Tags => match word.map(|it| serde_json::from_str(&it)) {
                None => device.tags = None,
                Some(Ok(tags)) => device.tags = Some(tags),
                Some(Err(_)) => fields.wrong("tags", "must be a JSON object of texts"),
            },
            Column::Tag(tag) => {
                let tags = device.tags.get_or_insert_with(BTreeMap::new);
                match text {
                    Some(value) => drop(tags.insert(tag.clone(), value)),
                    None => drop(tags.remove(tag)),
                }
            }
            Column::DevEui => device.lorawan_dev_eui = word,
            Column::AppId => device.chirpstack_app_id = word,
            Column::ProfileId => device.device_profile_id = word,
            Column::JoinEui => device.join_eui = word,
            Column::AppKey => {
                device.app_key = word.map_or(Patch::Keep, |key| Patch::Set(SecretText(key)));
            }
            Column::Codec => device.codec = word,
            Column::UplinkInterval => match word.map(|it| it.parse()) {
                None => device.uplink_interval_s = None,
                Some(Ok(seconds)) => device.uplink_interval_s = Some(seconds),
                Some(Err(_)) => fields.wrong("uplink_interval_s", "must be an integer"),
            },
        }
    }
    let unreadable = fields.done(());
    match (unreadable, device.checked()) {
        (Ok(()), checked) => checked,
        (Err(ApiError::Invalid(mut errors)), Err(ApiError::Invalid(more))) => {
            errors.extend(more);
            Err(ApiError::Invalid(errors))
        }
        (Err(error), _) => Err(error),
    }
}

/// The cell of a column, if the file has it.
pub(super) fn cell<'a>(columns: &[Column], cells: &'a [String], of: &Column) -> Option<&'a str> {
    let at = columns.iter().position(|column| column == of)?;
    Some(unguarded(cells.get(at)?).trim()).filter(|it| !it.is_empty())
}
