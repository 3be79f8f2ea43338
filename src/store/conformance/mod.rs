//! What every database must do, written against [`Store`] alone.
//!
//! A database joins by one call of `conformance!` with a function that opens a fresh one; the list of tests stands
//! here once. What only one database has (files, its error codes) is tested beside its SQL.

pub(super) mod commit;
pub(super) mod downlinks;
pub(super) mod history;
pub(super) mod idempotency;
pub(super) mod keys;
pub(super) mod registry;

use std::collections::BTreeMap;

use downbeat_actors::port::DeviceChange;
use downbeat_core::codec::{CodecKind, Frame, Proof};
use downbeat_core::device::{Downlink, DownlinkState, Origin, Record, Step, TimelineEntry};
use downbeat_core::id::{DevEui, DeviceId, DownlinkId, FPort, TenantId};
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::*;

/// Instantiates the suite for one database; `$open` is an async function that gives a fresh store and a guard that
/// keeps it alive.
macro_rules! conformance {
    ($open:path) => {
        conformance! { $open;
            registry::a_first_start_makes_the_default_tenant,
            registry::tenants_have_unique_names_and_see_only_themselves,
            registry::a_device_is_kept_as_registered,
            registry::a_dev_eui_is_registered_once_over_all_tenants,
            registry::another_tenants_device_does_not_exist,
            registry::a_change_needs_the_current_version,
            registry::another_dev_eui_forgets_what_the_old_one_said,
            registry::a_deleted_device_is_gone_and_its_dev_eui_free,
            registry::devices_are_listed_in_pages_and_filtered,
            commit::what_an_actor_stores_is_loaded_and_listed,
            commit::only_the_last_state_of_a_batch_stands,
            commit::a_repeated_batch_changes_nothing,
            commit::an_older_batch_puts_no_newer_downlink_back,
            commit::a_deleted_device_does_not_spoil_the_batch_of_others,
            commit::unfinished_devices_are_those_of_the_last_change,
            commit::a_batch_of_thousands_is_stored_whole,
            commit::fifty_tasks_write_at_once_and_nothing_is_lost,
            downlinks::a_downlink_is_read_with_its_timeline_in_its_scope,
            downlinks::downlinks_are_listed_newest_first_in_pages,
            downlinks::downlinks_are_filtered,
            downlinks::outcomes_are_counted_by_period_device_and_scope,
            downlinks::outcomes_of_nothing_are_none,
            history::events_are_listed_newest_first_and_stored_once,
            history::old_events_are_deleted_in_batches,
            keys::a_key_is_found_by_its_hash_and_can_be_taken_back,
            keys::a_tenant_sees_its_own_keys,
            keys::the_last_use_is_noted_and_never_goes_back,
            keys::a_key_of_no_tenant_is_refused,
            idempotency::a_repeated_request_gets_the_first_answer,
            idempotency::an_unanswered_reservation_tells_what_to_look_for,
            idempotency::the_same_key_with_another_body_is_a_mismatch,
            idempotency::a_released_reservation_is_free_again,
            idempotency::keys_of_different_scopes_and_operations_never_meet,
            idempotency::of_many_at_once_one_is_first,
            idempotency::old_reservations_are_forgotten,
        }
    };
    ($open:path; $($module:ident::$test:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let (store, _guard) = $open().await;
                $crate::store::conformance::$module::$test(&store).await;
                store.close().await;
            }
        )+
    };
}
pub(super) use conformance;

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + seconds * 1_000)
}

pub(super) fn eui(number: u64) -> DevEui {
    DevEui::from_u64(0x2020_20ff_0000_0000 + number)
}

pub(super) async fn default_tenant(store: &Store) -> TenantId {
    store
        .tenant_by_name(Scope::Platform, DEFAULT_TENANT)
        .await
        .unwrap()
        .unwrap()
        .id
}

pub(super) async fn new_tenant(store: &Store, name: &str) -> TenantId {
    let tenant = Tenant {
        id: TenantId::from_uuid(Uuid::now_v7()),
        name: name.to_owned(),
        created_at: at(0),
    };
    store.create_tenant(&tenant).await.unwrap();
    tenant.id
}

fn lamp(tenant_id: TenantId, number: u64) -> NewDevice {
    NewDevice {
        id: DeviceId::from_uuid(Uuid::now_v7()),
        tenant_id,
        created_at: at(i64::try_from(number).unwrap()),
        fields: DeviceFields {
            name: format!("Lamp {number}"),
            description: String::new(),
            device_type: "light".to_owned(),
            tags: BTreeMap::new(),
            codec: CodecKind::KuandoBusylight,
            dev_eui: Some(eui(number)),
            chirpstack_app_id: None,
            device_profile_id: None,
            join_eui: None,
        },
    }
}

pub(super) async fn register(store: &Store, tenant_id: TenantId, number: u64) -> Device {
    store
        .create_device(Scope::Platform, &lamp(tenant_id, number))
        .await
        .unwrap()
}

/// A change that only says that something happened.
pub(super) fn change(device: &Device, state: &str, when: Timestamp) -> DeviceChange {
    DeviceChange {
        dev_eui: device.fields.dev_eui.unwrap(),
        device_id: device.id,
        tenant_id: device.tenant_id,
        state: state.to_owned(),
        unfinished: false,
        at: when,
        last_seen: None,
        rssi_dbm: None,
        snr_db: None,
        battery_percent: None,
        desired: None,
        reported: None,
        records: Vec::new(),
        history: None,
    }
}

pub(super) fn downlink(accepted_at: Timestamp) -> Downlink {
    Downlink {
        id: DownlinkId::from_uuid(Uuid::now_v7()),
        origin: Origin::Api,
        frame: Frame {
            f_port: FPort::for_downlink(15).unwrap(),
            payload: vec![255, 0, 0, 255, 0],
        },
        light: None,
        is_state: true,
        proof: Proof::AutoUplink,
        confirmed: false,
        transient: false,
        attempts_max: 4,
        expires_at: accepted_at + std::time::Duration::from_mins(10),
        accepted_at,
        updated_at: accepted_at,
        state: DownlinkState::Accepted,
        reason: None,
        attempts: 0,
        queue_item_id: None,
        evidence: None,
        late: false,
        finished_at: None,
        steps: 0,
    }
}

/// One more step of a downlink's life.
pub(super) fn record(downlink: &mut Downlink, state: DownlinkState, when: Timestamp) -> Record {
    let step = if state == DownlinkState::Accepted {
        Step::Accepted
    } else {
        Step::Ended {
            state,
            reason: downlink.reason.clone(),
        }
    };
    let entry = TimelineEntry {
        seq: downlink.steps,
        at: when,
        attempt: downlink.attempts,
        step,
    };
    downlink.state = state;
    downlink.updated_at = when;
    downlink.steps += 1;
    if state.is_terminal() {
        downlink.finished_at = Some(when);
    }
    Record {
        downlink: downlink.clone(),
        entry,
    }
}
