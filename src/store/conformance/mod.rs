//! What every database must do, written against [`Store`] alone.
//!
//! A database joins by one call of `conformance!` with a function that opens a fresh one; the list of tests stands
//! here once. What only one database has (files, its error codes) is tested beside its SQL.

pub(super) mod audit;
pub(super) mod commit;
pub(super) mod downlinks;
pub(super) mod drift;
pub(super) mod figures;
pub(super) mod gateways;
pub(super) mod history;
pub(super) mod idempotency;
pub(super) mod isolation;
pub(crate) mod jobs;
pub(super) mod keys;
pub(super) mod outcomes;
pub(super) mod policies;
pub(super) mod presence;
pub(super) mod registry;
pub(super) mod revisions;
pub(super) mod servers;
pub(super) mod sessions;
pub(super) mod telemetry;
pub(super) mod tenants;
pub(super) mod unclaimed;
pub(super) mod wishes;

use std::collections::BTreeMap;

use downbeat_actors::port::{DeviceChange, SyncChange};
use downbeat_core::codec::{CodecKind, Frame, Proof};
use downbeat_core::device::{
    Downlink, DownlinkState, Origin, PolicySettings, Presence, Record, Step, TimelineEntry,
};
use downbeat_core::id::{
    DevEui, DeviceId, DeviceKey, DownlinkId, FPort, NetworkServerId, TenantId,
};
use downbeat_core::sync::{SyncState, SyncStatus};
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
            registry::a_device_that_is_to_rest_is_not_deleted_while_something_is_under_way,
            registry::changes_of_one_batch_wish_one_after_the_other,
            registry::devices_are_listed_in_pages_and_filtered,
            revisions::whatever_is_shown_of_a_device_is_another_revision,
            revisions::another_tenants_revisions_do_not_exist,
            revisions::who_lists_at_once_sees_what_was_there_when_asking,
            revisions::devices_asked_for_at_once_are_each_scopes_own,
            policies::policies_of_tenant_and_device_are_kept_and_loaded,
            policies::devices_are_listed_by_whether_they_show_what_is_wanted,
            policies::how_far_an_initialisation_is_stays_with_the_device,
            commit::what_an_actor_stores_is_loaded_and_listed,
            commit::only_the_last_state_of_a_batch_stands,
            commit::many_that_are_loaded_at_once_get_each_its_own,
            commit::a_repeated_batch_changes_nothing,
            commit::an_older_batch_puts_no_newer_downlink_back,
            commit::a_deleted_device_does_not_spoil_the_batch_of_others,
            commit::unfinished_devices_are_those_of_the_last_change,
            commit::a_batch_of_thousands_is_stored_whole,
            commit::fifty_tasks_write_at_once_and_nothing_is_lost,
            registry::fifty_tasks_register_change_and_delete_at_once,
            downlinks::a_downlink_is_read_with_its_timeline_in_its_scope,
            downlinks::downlinks_are_listed_newest_first_in_pages,
            downlinks::downlinks_are_filtered,
            downlinks::downlinks_stay_their_devices_under_another_dev_eui,
            outcomes::outcomes_are_counted_by_period_device_and_scope,
            outcomes::outcomes_tell_how_they_came_about,
            outcomes::a_late_proof_is_a_new_end,
            outcomes::outcomes_are_counted_over_time,
            outcomes::outcomes_are_counted_by_tag,
            outcomes::outcomes_are_counted_by_attempts,
            outcomes::outcomes_of_nothing_are_none,
            outcomes::old_downlinks_are_deleted_in_batches,
            history::events_are_listed_newest_first_and_stored_once,
            history::old_events_are_deleted_in_batches,
            history::what_gateways_sent_is_told_by_network_server,
            keys::a_key_is_found_by_its_hash_and_can_be_taken_back,
            keys::a_tenant_sees_its_own_keys,
            keys::the_last_use_is_noted_and_never_goes_back,
            keys::a_key_of_no_tenant_is_refused,
            sessions::sessions_are_kept_until_they_are_forgotten,
            sessions::a_session_is_worth_nothing_without_its_key,
            figures::a_tenants_figures_are_its_own,
            idempotency::a_repeated_request_gets_the_first_answer,
            idempotency::an_unanswered_reservation_tells_what_to_look_for,
            idempotency::the_same_key_with_another_body_is_a_mismatch,
            idempotency::a_released_reservation_is_free_again,
            idempotency::keys_of_different_scopes_and_operations_never_meet,
            idempotency::of_many_at_once_one_is_first,
            idempotency::old_reservations_are_forgotten,
            tenants::a_tenant_is_kept_changed_and_deleted,
            tenants::names_and_chirpstack_tenants_are_taken_once,
            tenants::a_tenant_with_devices_or_open_deletions_stays,
            tenants::a_full_tenant_gets_no_more_devices,
            tenants::many_at_once_do_not_overfill_a_tenant,
            servers::a_network_server_is_kept_with_its_key,
            servers::a_dev_eui_is_free_on_another_network_server,
            servers::devices_on_the_air_hold_their_network_server,
            servers::setting_it_again_wishes_its_devices_anew,
            wishes::a_device_of_an_application_is_wanted,
            wishes::only_what_chirpstack_holds_is_wished_anew,
            wishes::a_root_key_is_given_out_by_its_revision_alone,
            wishes::a_deleted_device_is_unwanted_until_its_absence_is_confirmed,
            wishes::who_takes_a_dev_eui_over_takes_its_wish_over,
            wishes::another_dev_eui_is_another_wish,
            wishes::a_device_taken_out_of_its_application_is_unwanted,
            wishes::what_is_known_is_stored_and_newer_wishes_stand,
            wishes::those_due_first_come_first,
            wishes::wishes_are_read_by_name,
            wishes::an_operator_wishes_anew_and_with_force,
            wishes::all_that_are_not_in_step_are_wished_anew,
            presence::who_is_overdue_for_longest_comes_first,
            presence::presence_and_counts_are_stored_and_forgotten,
            presence::devices_are_filtered_by_every_field,
            presence::a_tenants_devices_are_gone_through_by_dev_eui,
            telemetry::values_are_kept_and_read_in_order,
            telemetry::spans_are_summed_up,
            telemetry::old_values_are_deleted_in_batches,
            audit::every_change_leaves_an_entry,
            audit::what_fails_leaves_no_entry,
            audit::entries_are_added_once_and_found,
            unclaimed::sightings_add_up_to_one_device,
            unclaimed::each_tenant_has_its_own,
            unclaimed::a_registered_device_is_not_unclaimed,
            unclaimed::there_are_only_so_many,
            drift::a_comparison_replaces_the_one_before,
            drift::a_comparison_goes_with_its_tenant,
            jobs::a_job_is_kept_and_nobody_sees_it_before_it_is_begun,
            jobs::jobs_are_listed_newest_first_in_pages,
            jobs::what_becomes_of_a_jobs_devices_is_stored_and_taken_up,
            jobs::a_late_proof_is_counted_once,
            jobs::a_late_proof_whose_news_was_missed_is_found,
            jobs::jobs_that_are_over_or_were_never_begun_are_forgotten,
            jobs::devices_are_found_by_name_and_with_how_they_were_heard,
            jobs::another_tenants_job_does_not_exist,
            gateways::what_is_known_of_gateways_is_kept_by_network_server,
            gateways::links_are_kept_with_their_devices,
            isolation::a_stranger_reads_nothing,
            isolation::a_stranger_writes_nothing,
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

/// Who makes the changes of these tests.
pub(super) fn by() -> By {
    By::command_line()
}

pub(super) fn on_default(number: u64) -> DeviceKey {
    DeviceKey {
        server: NetworkServerId::Default,
        dev_eui: eui(number),
    }
}

fn tenant_named(name: &str) -> Tenant {
    Tenant {
        id: TenantId::from_uuid(Uuid::now_v7()),
        fields: TenantFields::named(name),
        created_at: at(0),
        updated_at: at(0),
        version: 1,
    }
}

pub(super) async fn new_tenant(store: &Store, name: &str) -> TenantId {
    let tenant = tenant_named(name);
    store.create_tenant(&tenant, &by()).await.unwrap();
    tenant.id
}

pub(super) fn lamp(tenant_id: TenantId, number: u64) -> NewDevice {
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
            uplink_interval: None,
            policy: PolicySettings::default(),
        },
        app_key: None,
    }
}

pub(super) async fn register(store: &Store, tenant_id: TenantId, number: u64) -> Device {
    store
        .create_device(Scope::Platform, &lamp(tenant_id, number), &by())
        .await
        .unwrap()
}

/// A lamp that `ChirpStack` is to hold.
fn synced_lamp(tenant_id: TenantId, number: u64) -> NewDevice {
    let mut new = lamp(tenant_id, number);
    new.fields.chirpstack_app_id = Some(Uuid::from_u128(1));
    new.fields.device_profile_id = Some(Uuid::from_u128(2));
    new
}

/// A step of whoever carries a wish out.
fn progress(key: DeviceKey, generation: u64, machine: &str) -> SyncChange {
    SyncChange {
        key,
        machine: machine.to_owned(),
        generation,
        synced_generation: 0,
        status: SyncStatus::default(),
        unfinished: true,
        gone: false,
        at: at(1),
    }
}

fn gone(key: DeviceKey, generation: u64) -> SyncChange {
    SyncChange {
        gone: true,
        unfinished: false,
        synced_generation: generation,
        ..progress(key, generation, "gone")
    }
}

/// `ChirpStack` holds what is wanted there. Gives the wish's generation.
async fn fulfil(store: &Store, key: DeviceKey) -> u64 {
    let generation = store.load_sync(key).await.unwrap().unwrap().wish.generation;
    let done = SyncChange {
        synced_generation: generation,
        unfinished: false,
        status: SyncStatus {
            state: SyncState::Synced,
            ..SyncStatus::default()
        },
        ..progress(key, generation, "fulfilled")
    };
    store.commit_syncs(&[done]).await.unwrap();
    generation
}

/// `ChirpStack` holds nothing there, as is wanted.
async fn confirm_absence(store: &Store, key: DeviceKey) {
    let absent = store.load_sync(key).await.unwrap().unwrap();
    assert_eq!(absent.wish.device, None);
    let done = gone(key, absent.wish.generation);
    store.commit_syncs(&[done]).await.unwrap();
    assert_eq!(store.load_sync(key).await.unwrap(), None);
}

/// A change that only says that something happened.
pub(super) fn change(device: &Device, state: &str, when: Timestamp) -> DeviceChange {
    DeviceChange {
        dev_eui: device.fields.dev_eui.unwrap(),
        device_id: device.id,
        tenant_id: device.tenant_id,
        state: state.to_owned(),
        unfinished: false,
        row_changed: true,
        presence_changed: true,
        unfinished_changed: true,
        at: when,
        last_seen: None,
        rssi_dbm: None,
        snr_db: None,
        battery_percent: None,
        desired: None,
        reported: None,
        records: Vec::new(),
        presence: Presence::Online,
        initialisation: None,
        uplinks_heard: 0,
        uplinks_missed: 0,
        history: Vec::new(),
        telemetry: Vec::new(),
        audit: None,
    }
}

pub(crate) fn downlink(accepted_at: Timestamp) -> Downlink {
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
        until_deadline: false,
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
        enqueued_at: None,
        transmission: None,
        steps: 0,
    }
}

/// How many are deleted time after time, where there are so many.
fn batches(mut rows: u64) -> Vec<u64> {
    let mut batches = Vec::new();
    while batches.last() != Some(&0) {
        let batch = rows.min(DELETE_BATCH_MAX.into());
        rows -= batch;
        batches.push(batch);
    }
    batches
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
