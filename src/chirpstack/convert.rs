//! ChirpStack's messages in our words, and the other way round.

use chirpstack_api::api;
use downbeat_actors::port::{ListedApplication, ListedDevice, NewQueueItem};
use downbeat_core::gateway::{ListedGateway, ListedState};
use downbeat_core::id::{DevEui, JoinEui, ParseEuiError, QueueItemId};
use downbeat_core::network::{Location, QueueItem};
use downbeat_core::sync::RemoteDevice;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

/// A message that does not keep to ChirpStack's own API.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConvertError {
    #[error("{field} is not a UUID")]
    Uuid {
        field: &'static str,
        source: uuid::Error,
    },
    #[error("{field} is not an EUI-64")]
    Eui {
        field: &'static str,
        source: ParseEuiError,
    },
    #[error("{0} is out of range")]
    Range(&'static str),
}

fn uuid(field: &'static str, text: &str) -> Result<Uuid, ConvertError> {
    text.parse()
        .map_err(|source| ConvertError::Uuid { field, source })
}

pub(super) fn queue_item_id(text: &str) -> Result<QueueItemId, ConvertError> {
    uuid("id", text).map(QueueItemId::from_uuid)
}

pub(super) fn tenant_id(text: &str) -> Result<Uuid, ConvertError> {
    uuid("tenant_id", text)
}

/// The item as Enqueue takes it. ChirpStack numbers items itself and ignores an id.
pub(super) fn new_queue_item(dev_eui: DevEui, item: &NewQueueItem) -> api::DeviceQueueItem {
    api::DeviceQueueItem {
        dev_eui: dev_eui.to_string(),
        confirmed: item.confirmed,
        f_port: u32::from(item.f_port),
        data: item.payload.clone(),
        expires_at: Some(to_timestamp(item.expires_at)),
        ..api::DeviceQueueItem::default()
    }
}

pub(super) fn queue_item(item: api::DeviceQueueItem) -> Result<QueueItem, ConvertError> {
    Ok(QueueItem {
        id: queue_item_id(&item.id)?,
        f_port: u8::try_from(item.f_port).map_err(|_| ConvertError::Range("f_port"))?,
        payload: item.data,
        confirmed: item.confirmed,
        is_pending: item.is_pending,
        expires_at: item.expires_at.map(from_timestamp),
    })
}

pub(super) fn listed_application(
    application: api::ApplicationListItem,
) -> Result<ListedApplication, ConvertError> {
    Ok(ListedApplication {
        id: uuid("id", &application.id)?,
        name: application.name,
    })
}

pub(super) fn listed_device(device: api::DeviceListItem) -> Result<ListedDevice, ConvertError> {
    Ok(ListedDevice {
        dev_eui: dev_eui(&device.dev_eui)?,
        name: device.name,
        description: device.description,
        tags: device.tags.into_iter().collect(),
        device_profile_id: uuid("device_profile_id", &device.device_profile_id)?,
        last_seen_at: device.last_seen_at.map(from_timestamp),
    })
}

fn dev_eui(text: &str) -> Result<DevEui, ConvertError> {
    text.parse().map_err(|source| ConvertError::Eui {
        field: "dev_eui",
        source,
    })
}

/// The device as Create and Update take it: whole.
pub(super) fn device(device: &RemoteDevice) -> api::Device {
    api::Device {
        dev_eui: device.dev_eui.to_string(),
        name: device.name.clone(),
        description: device.description.clone(),
        application_id: device.application_id.to_string(),
        device_profile_id: device.device_profile_id.to_string(),
        skip_fcnt_check: device.skip_fcnt_check,
        is_disabled: device.is_disabled,
        variables: device.variables.clone().into_iter().collect(),
        tags: device.tags.clone().into_iter().collect(),
        join_eui: device.join_eui.to_string(),
    }
}

pub(super) fn remote_device(device: api::Device) -> Result<RemoteDevice, ConvertError> {
    // Empty from a server that knows no such field.
    let join_eui = if device.join_eui.is_empty() {
        Ok(JoinEui::from_u64(0))
    } else {
        device.join_eui.parse()
    };
    Ok(RemoteDevice {
        dev_eui: dev_eui(&device.dev_eui)?,
        name: device.name,
        description: device.description,
        application_id: uuid("application_id", &device.application_id)?,
        device_profile_id: uuid("device_profile_id", &device.device_profile_id)?,
        join_eui: join_eui.map_err(|source| ConvertError::Eui {
            field: "join_eui",
            source,
        })?,
        is_disabled: device.is_disabled,
        skip_fcnt_check: device.skip_fcnt_check,
        tags: device.tags.into_iter().collect(),
        variables: device.variables.into_iter().collect(),
    })
}

pub(super) fn listed_gateway(gateway: api::GatewayListItem) -> Result<ListedGateway, ConvertError> {
    let state = gateway.state();
    let gateway_id = gateway.gateway_id.parse();
    let tenant_id = Some(gateway.tenant_id).filter(|id| !id.is_empty());
    Ok(ListedGateway {
        gateway_id: gateway_id.map_err(|source| ConvertError::Eui {
            field: "gateway_id",
            source,
        })?,
        name: gateway.name,
        tenant_id: tenant_id.map(|id| uuid("tenant_id", &id)).transpose()?,
        state: match state {
            api::GatewayState::NeverSeen => ListedState::NeverSeen,
            api::GatewayState::Online => ListedState::Online,
            api::GatewayState::Offline => ListedState::Offline,
        },
        last_seen_at: gateway.last_seen_at.map(from_timestamp),
        location: gateway.location.and_then(location),
    })
}

/// ChirpStack gives 0, 0, 0 for a location that nobody set, a place in the Gulf of Guinea.
fn location(location: chirpstack_api::common::Location) -> Option<Location> {
    let set = [location.latitude, location.longitude, location.altitude]
        .iter()
        .any(|part| *part != 0.0);
    set.then_some(Location {
        latitude: location.latitude,
        longitude: location.longitude,
        altitude: location.altitude,
    })
}

fn to_timestamp(at: Timestamp) -> prost_types::Timestamp {
    let millis = at.as_millis();
    prost_types::Timestamp {
        seconds: millis.div_euclid(1_000),
        nanos: i32::try_from(millis.rem_euclid(1_000) * 1_000_000).unwrap_or(0),
    }
}

/// Whole milliseconds: an `expires_at` of ours comes back as it was sent.
fn from_timestamp(at: prost_types::Timestamp) -> Timestamp {
    let millis = i64::from(at.nanos).div_euclid(1_000_000);
    Timestamp::from_millis(at.seconds.saturating_mul(1_000).saturating_add(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_come_back_to_the_millisecond() {
        for millis in [0, 1, -1, -1_001, 1_795_361_531_448] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(from_timestamp(to_timestamp(at)), at);
        }
        // PostgreSQL keeps microseconds.
        let micros = prost_types::Timestamp {
            seconds: 1,
            nanos: 448_999_000,
        };
        assert_eq!(from_timestamp(micros), Timestamp::from_millis(1_448));
        let absurd = prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: i32::MIN,
        };
        assert_eq!(from_timestamp(absurd), Timestamp::from_millis(i64::MAX));
    }

    #[test]
    fn what_breaks_the_api_is_named() {
        let item = api::DeviceQueueItem {
            f_port: 271,
            id: Uuid::nil().to_string(),
            ..Default::default()
        };
        assert_eq!(
            queue_item(item).unwrap_err().to_string(),
            "f_port is out of range"
        );
        assert_eq!(
            queue_item_id("").unwrap_err().to_string(),
            "id is not a UUID"
        );
        let gateway = api::GatewayListItem {
            gateway_id: "0".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            listed_gateway(gateway).unwrap_err().to_string(),
            "gateway_id is not an EUI-64"
        );
        assert!(listed_device(api::DeviceListItem::default()).is_err());
    }

    #[test]
    fn a_location_that_nobody_set_is_none() {
        let gateway = |location| api::GatewayListItem {
            gateway_id: "0016c001f1500001".to_owned(),
            location,
            ..Default::default()
        };
        let unset = Some(chirpstack_api::common::Location::default());
        assert_eq!(listed_gateway(gateway(unset)).unwrap().location, None);
        let set = Some(chirpstack_api::common::Location {
            latitude: 52.5,
            ..Default::default()
        });
        let place = Location {
            latitude: 52.5,
            longitude: 0.0,
            altitude: 0.0,
        };
        assert_eq!(listed_gateway(gateway(set)).unwrap().location, Some(place));
    }
}
