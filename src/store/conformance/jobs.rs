//! Commands to many devices.

use std::time::Duration;

use downbeat_actors::port::{
    AuditEntry, JobChange, JobOrder, JobProgress, JobStore as _, LateProof, StoredJob,
};
use downbeat_core::codec::Command;
use downbeat_core::id::JobId;
use downbeat_core::job::{Change, Counts, Item, ItemState, JobKind, JobState, LeftOut, Plan};
use downbeat_core::light::{Color, LightState};

use super::*;

pub(in crate::store) async fn a_job_is_kept_and_nobody_sees_it_before_it_is_begun(store: &Store) {
    let tenant = default_tenant(store).await;
    let scope = Scope::Tenant(tenant);
    let page = PageRequest::default();
    let job = job(tenant, at(1), 2, 1);
    // What was being prepared before is forgotten.
    store.prepare_job(&job).await.unwrap();
    let first = item(0, 1);
    let written = store.add_job_items(tenant, job.id, std::slice::from_ref(&first));
    written.await.unwrap();
    store.prepare_job(&job).await.unwrap();
    let items = [first, item(1, 2), left_out(2)];
    store.add_job_items(tenant, job.id, &items).await.unwrap();
    assert_eq!(store.unfinished_jobs().await.unwrap(), []);
    let listed = store.list_jobs(scope, JobFilter::default(), page).await;
    assert_eq!(listed.unwrap().items, []);
    let prepared = store.job(scope, job.id).await.unwrap().unwrap();
    assert_eq!(prepared.progress.state, JobState::Preparing);
    assert_eq!(store.count_unfinished_jobs(tenant).await.unwrap(), 0);

    store.start_job(&job, &entry(&job, "create")).await.unwrap();
    let found = store.job(scope, job.id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&job));
    assert_eq!(store.count_unfinished_jobs(tenant).await.unwrap(), 1);
    assert_eq!(store.unfinished_jobs().await.unwrap(), [job.id]);
    for (filter, found) in [
        (JobFilter::default(), true),
        (in_state(JobState::Running), true),
        (in_state(JobState::Paused), false),
        (of_kind(JobKind::Color), true),
        (of_kind(JobKind::Payload), false),
    ] {
        let listed = store.list_jobs(scope, filter, page).await.unwrap().items;
        assert_eq!(listed.len(), usize::from(found), "{filter:?}");
    }
    let kept = store.list_job_items(scope, job.id, &[], page).await;
    let kept = kept.unwrap().items;
    let told: Vec<_> = kept
        .iter()
        .map(|it| (it.seq, it.dev_eui, it.state, it.reason.as_deref()))
        .collect();
    let expected = [
        (0, Some(eui(1)), ItemState::Waiting, None),
        (1, Some(eui(2)), ItemState::Waiting, None),
        (2, Some(eui(99)), ItemState::Skipped, Some("unknown_device")),
    ];
    assert_eq!(told, expected);
    let filter = AuditFilter {
        action: Some("job".to_owned()),
        ..AuditFilter::default()
    };
    let audited = store.list_audit(scope, &filter, page).await.unwrap().items;
    assert_eq!(audited.len(), 1);
}

pub(in crate::store) async fn jobs_are_listed_newest_first_in_pages(store: &Store) {
    let tenant = default_tenant(store).await;
    let mut jobs = Vec::new();
    for second in 1..=5 {
        jobs.insert(0, begun(store, tenant, at(second), &[item(0, 1)]).await);
    }
    let (mut found, mut page) = (Vec::new(), PageRequest::first(2));
    loop {
        let part = store.list_jobs(Scope::Platform, JobFilter::default(), page);
        let part = part.await.unwrap();
        found.extend(part.items);
        page.after = part.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(found, jobs);
}

pub(in crate::store) async fn what_becomes_of_a_jobs_devices_is_stored_and_taken_up(store: &Store) {
    let tenant = default_tenant(store).await;
    let scope = Scope::Tenant(tenant);
    let items: Vec<NewJobItem> = (0..1_200).map(|seq| item(seq, seq.into())).collect();
    let job = begun(store, tenant, at(1), &items).await;
    let device = register(store, tenant, 1).await;
    let waiting = store.waiting_items(job.id, None, 2).await.unwrap();
    assert_eq!(waiting, [on_air(&items[0]), on_air(&items[1])]);
    let waiting = store.waiting_items(job.id, Some(1_100), 500).await.unwrap();
    assert_eq!(waiting.len(), 99);
    assert_eq!(waiting[0], on_air(&items[1_101]));

    // Handed over: of the first nothing is known, the second's command is there.
    let mut counts = job.progress.counts;
    counts.shift(ItemState::Waiting, ItemState::UnderWay);
    counts.shift(ItemState::Waiting, ItemState::UnderWay);
    counts.shift(ItemState::Waiting, ItemState::Unverified);
    let changed = JobChange {
        items: vec![
            becomes(0, ItemState::UnderWay, 0),
            becomes(1, ItemState::UnderWay, 0),
            becomes(2, ItemState::Unverified, 4),
        ],
        ..change_of(&job, JobState::Running, counts, at(5))
    };
    store
        .commit_jobs(std::slice::from_ref(&changed))
        .await
        .unwrap();
    let mut command = downlink(at(5));
    command.id = items[1].downlink_id;
    command.attempts = 1;
    let accepted = DeviceChange {
        records: vec![record(&mut command, DownlinkState::Accepted, at(5))],
        ..change(&device, "{}", at(5))
    };
    store.commit(&[accepted]).await.unwrap();

    let loaded = store.load_job(job.id).await.unwrap().unwrap();
    assert_eq!(loaded.job.progress, changed.progress);
    let (first, second) = (&loaded.under_way[0], &loaded.under_way[1]);
    assert_eq!(
        (first.0, first.1, &first.2),
        (on_air(&items[0]), at(5), &None)
    );
    let known = second.2.clone().unwrap();
    assert_eq!((known.state, known.attempts), (DownlinkState::Accepted, 1));
    assert_eq!(loaded.unverified, [(2, items[2].downlink_id)]);
    let shown = store.list_job_items(scope, job.id, &[ItemState::UnderWay], PageRequest::first(1));
    let shown = shown.await.unwrap();
    assert_eq!((shown.items.len(), shown.items[0].downlink), (1, None));
    let next = PageRequest {
        limit: 1,
        after: shown.next,
    };
    let shown = store.list_job_items(scope, job.id, &[ItemState::UnderWay], next);
    let shown = shown.await.unwrap();
    assert_eq!(shown.items[0].downlink, Some(DownlinkState::Accepted));
    assert_eq!(shown.items[0].handed_over_at, Some(at(5)));
    assert_eq!(shown.next, None);

    // Taken back: one that is under way ends, all that wait are over.
    counts.shift(ItemState::UnderWay, ItemState::Verified);
    let cancelled = counts.shift_all(ItemState::Waiting, ItemState::Cancelled);
    assert_eq!(cancelled, 1_197);
    let changed = JobChange {
        items: vec![becomes(0, ItemState::Verified, 2)],
        cancel_waiting: true,
        audit: Some(entry(&job, "cancel")),
        ..change_of(&job, JobState::Cancelled, counts, at(9))
    };
    store.commit_jobs(&[changed]).await.unwrap();
    let loaded = store.load_job(job.id).await.unwrap().unwrap();
    assert_eq!(loaded.job.progress.counts, counts);
    assert_eq!(loaded.under_way.len(), 1);
    assert_eq!(store.waiting_items(job.id, None, 1).await.unwrap(), []);
    let over = store.list_job_items(
        scope,
        job.id,
        &[ItemState::Verified],
        PageRequest::default(),
    );
    let over = &over.await.unwrap().items[0];
    assert_eq!((over.attempts, over.finished_at), (2, Some(at(9))));
    assert_eq!(over.handed_over_at, Some(at(5)));
}

pub(in crate::store) async fn a_late_proof_is_counted_once(store: &Store) {
    let tenant = default_tenant(store).await;
    let items = [item(0, 1), item(1, 2)];
    let job = begun(store, tenant, at(1), &items).await;
    let mut counts = Counts::default();
    counts.add(ItemState::Unverified, 1);
    counts.add(ItemState::Failed, 1);
    let changed = JobChange {
        items: vec![
            becomes(0, ItemState::Unverified, 4),
            becomes(1, ItemState::Failed, 1),
        ],
        ..change_of(&job, JobState::Done, counts, at(5))
    };
    store.commit_jobs(&[changed]).await.unwrap();
    let proof = |item: &NewJobItem| LateProof {
        job: job.id,
        tenant_id: tenant,
        downlink_id: item.downlink_id,
        attempts: 4,
    };
    let proofs = [proof(&items[0]), proof(&items[1])];
    for _ in 0..2 {
        store.prove_late(&proofs).await.unwrap();
        let found = store.job(Scope::Platform, job.id).await.unwrap().unwrap();
        let counts = found.progress.counts;
        let told = [
            ItemState::Verified,
            ItemState::Unverified,
            ItemState::Failed,
        ];
        assert_eq!(told.map(|state| counts.get(state)), [1, 0, 1]);
    }
}

/// The command's proof is stored, and the process ended before the job knew.
pub(in crate::store) async fn a_late_proof_whose_news_was_missed_is_found(store: &Store) {
    let tenant = default_tenant(store).await;
    let device = register(store, tenant, 1).await;
    let mut proven = downlink(at(1));
    let mut lost = downlink(at(1));
    let items = [
        NewJobItem {
            downlink_id: proven.id,
            ..item(0, 1)
        },
        NewJobItem {
            downlink_id: lost.id,
            ..item(1, 1)
        },
        // Its command was never taken.
        item(2, 1),
    ];
    let job = begun(store, tenant, at(1), &items).await;
    let mut counts = Counts::default();
    counts.add(ItemState::Unverified, 3);
    let changed = JobChange {
        items: (0..3)
            .map(|seq| becomes(seq, ItemState::Unverified, 4))
            .collect(),
        ..change_of(&job, JobState::Done, counts, at(5))
    };
    store.commit_jobs(&[changed]).await.unwrap();
    assert_eq!(store.late_proofs(10).await.unwrap(), []);

    proven.attempts = 4;
    let told = DeviceChange {
        records: vec![
            record(&mut proven, DownlinkState::Verified, at(6)),
            record(&mut lost, DownlinkState::Unverified, at(6)),
        ],
        ..change(&device, "state", at(6))
    };
    store.commit(&[told]).await.unwrap();
    let found = store.late_proofs(10).await.unwrap();
    let proof = LateProof {
        job: job.id,
        tenant_id: tenant,
        downlink_id: proven.id,
        attempts: 4,
    };
    assert_eq!(found, [proof]);
    assert_eq!(store.late_proofs(0).await.unwrap(), []);
    store.prove_late(&found).await.unwrap();
    assert_eq!(store.late_proofs(10).await.unwrap(), []);
}

/// A job that is over, whose commands were all proven after it had given them up, and nobody told it.
pub(crate) async fn over_with_missed_proofs(store: &Store, devices: u32) -> JobId {
    let tenant = default_tenant(store).await;
    let device = register(store, tenant, 1).await;
    let items: Vec<NewJobItem> = (0..devices).map(|seq| item(seq, seq.into())).collect();
    let job = begun(store, tenant, at(1), &items).await;
    let mut counts = Counts::default();
    counts.add(ItemState::Unverified, devices.into());
    let mut over = change_of(&job, JobState::Done, counts, at(5));
    over.progress.finished_at = Some(at(5));
    over.items = (0..devices)
        .map(|seq| becomes(seq, ItemState::Unverified, 4))
        .collect();
    store.commit_jobs(&[over]).await.unwrap();
    let proven = items.iter().map(|item| {
        let mut proven = Downlink {
            id: item.downlink_id,
            ..downlink(at(1))
        };
        record(&mut proven, DownlinkState::Verified, at(6))
    });
    let told = DeviceChange {
        records: proven.collect(),
        ..change(&device, "{}", at(6))
    };
    store.commit(&[told]).await.unwrap();
    job.id
}

pub(in crate::store) async fn jobs_that_are_over_or_were_never_begun_are_forgotten(store: &Store) {
    let tenant = default_tenant(store).await;
    let never = job(tenant, at(1), 1, 0);
    store.prepare_job(&never).await.unwrap();
    let later = job(tenant, at(50), 1, 0);
    store.prepare_job(&later).await.unwrap();
    store.discard_unprepared(at(50)).await.unwrap();
    let scope = Scope::Platform;
    assert_eq!(store.job(scope, never.id).await.unwrap(), None);
    assert!(store.job(scope, later.id).await.unwrap().is_some());

    let items: Vec<NewJobItem> = (0..120).map(|seq| item(seq, seq.into())).collect();
    let old = begun(store, tenant, at(2), &items).await;
    let young = begun(store, tenant, at(3), &[item(0, 1)]).await;
    let open = begun(store, tenant, at(4), &[item(0, 1)]).await;
    for (job, second) in [(&old, 10), (&young, 30)] {
        let mut over = change_of(job, JobState::Done, job.progress.counts, at(second));
        over.progress.finished_at = Some(at(second));
        store.commit_jobs(&[over]).await.unwrap();
    }
    // The job itself goes with the last of its devices.
    for expected in batches(121) {
        let deleted = store.delete_jobs_before(at(20)).await.unwrap();
        assert_eq!(deleted, expected);
    }
    assert_eq!(store.job(scope, old.id).await.unwrap(), None);
    for job in [young, open] {
        assert!(store.job(scope, job.id).await.unwrap().is_some());
    }
}

pub(in crate::store) async fn devices_are_found_by_name_and_with_how_they_were_heard(
    store: &Store,
) {
    let tenant = default_tenant(store).await;
    let acme = new_tenant(store, "acme").await;
    let (first, second) = (
        register(store, tenant, 1).await,
        register(store, tenant, 2).await,
    );
    let theirs = register(store, acme, 3).await;
    let state = r#"{"class":"A","session":{"heard":null},"more":1}"#;
    store.commit(&[change(&first, state, at(1))]).await.unwrap();
    let euis = [eui(1), eui(3), eui(9)];
    let ids = [second.id, theirs.id];
    let found = store.devices_named(tenant, &euis, &ids);
    let mut found = found.await.unwrap();
    found.sort_by_key(|device| device.fields.dev_eui);
    let ids: Vec<DeviceId> = found.iter().map(|device| device.id).collect();
    assert_eq!(ids, [first.id, second.id]);
    let heard = store.heard(tenant, found).await.unwrap();
    let class = heard[0].hearing.as_ref().unwrap().class();
    assert_eq!(class, downbeat_core::radio::DeviceClass::A);
    assert_eq!(heard[1].hearing, None);
    let none = store.devices_named(tenant, &[], &[]).await.unwrap();
    assert_eq!(none, []);
}

pub(in crate::store) async fn another_tenants_job_does_not_exist(store: &Store) {
    let tenant = default_tenant(store).await;
    let stranger = Scope::Tenant(new_tenant(store, "stranger").await);
    let job = begun(store, tenant, at(1), &[item(0, 1)]).await;
    let page = PageRequest::default();
    assert_eq!(store.job(stranger, job.id).await.unwrap(), None);
    let jobs = store.list_jobs(stranger, JobFilter::default(), page).await;
    assert_eq!(jobs.unwrap().items, []);
    let items = store.list_job_items(stranger, job.id, &[], page).await;
    assert_eq!(items.unwrap().items, []);
}

/// A job of so many devices, and so many left out.
fn job(tenant_id: TenantId, created_at: Timestamp, waiting: u64, skipped: u64) -> StoredJob {
    let mut counts = Counts::default();
    counts.add(ItemState::Waiting, waiting);
    counts.add(ItemState::Skipped, skipped);
    let color = LightState::steady(Color::rgb(255, 0, 0));
    StoredJob {
        id: JobId::from_uuid(Uuid::now_v7()),
        tenant_id,
        kind: JobKind::Color,
        name: "All \"red\"".to_owned(),
        order: JobOrder {
            command: Some(Command::SetLight(color)),
            confirmed: false,
            verify: true,
            transient: false,
            attempts_max: Some(2),
            ttl_s: None,
            force: false,
        },
        stagger: Duration::from_millis(1_500),
        plan: Plan {
            devices: waiting,
            left_out: BTreeMap::from([(LeftOut::UnknownDevice, skipped)]),
            ..Plan::default()
        },
        created_by: "wall".to_owned(),
        created_at,
        retry_of: Some(JobId::from_uuid(Uuid::now_v7())),
        progress: JobProgress {
            state: JobState::Running,
            counts,
            spent: Duration::ZERO,
            attempts: 0,
            updated_at: created_at,
            finished_at: None,
        },
    }
}

pub(in crate::store) async fn begun(
    store: &Store,
    tenant: TenantId,
    created_at: Timestamp,
    items: &[NewJobItem],
) -> StoredJob {
    let devices = u64::try_from(items.len()).unwrap();
    let job = job(tenant, created_at, devices, 0);
    store.prepare_job(&job).await.unwrap();
    for items in items.chunks(JOB_BATCH_MAX) {
        store.add_job_items(tenant, job.id, items).await.unwrap();
    }
    store.start_job(&job, &entry(&job, "create")).await.unwrap();
    job
}

pub(in crate::store) fn item(seq: u32, number: u64) -> NewJobItem {
    NewJobItem {
        seq,
        device_id: Some(DeviceId::from_uuid(Uuid::from_u128(number.into()))),
        key: Some(on_default(number)),
        dev_eui: Some(eui(number)),
        downlink_id: DownlinkId::from_uuid(Uuid::now_v7()),
        left_out: None,
    }
}

fn left_out(seq: u32) -> NewJobItem {
    NewJobItem {
        device_id: None,
        key: None,
        left_out: Some(LeftOut::UnknownDevice.name()),
        ..item(seq, 99)
    }
}

fn on_air(item: &NewJobItem) -> Item {
    Item {
        seq: item.seq,
        key: item.key.unwrap(),
        downlink_id: item.downlink_id,
    }
}

fn becomes(seq: u32, state: ItemState, attempts: u8) -> Change {
    Change {
        seq,
        state,
        reason: None,
        attempts,
    }
}

fn change_of(job: &StoredJob, state: JobState, counts: Counts, when: Timestamp) -> JobChange {
    JobChange {
        id: job.id,
        tenant_id: job.tenant_id,
        items: Vec::new(),
        cancel_waiting: false,
        progress: JobProgress {
            state,
            counts,
            spent: Duration::from_secs(4),
            attempts: 7,
            updated_at: when,
            finished_at: None,
        },
        audit: None,
    }
}

fn entry(job: &StoredJob, verb: &str) -> AuditEntry {
    AuditEntry {
        id: Uuid::now_v7(),
        at: job.created_at,
        tenant_id: Some(job.tenant_id),
        by: by(),
        action: format!("job.{verb}"),
        object_id: job.id.to_string(),
        before: None,
        after: None,
    }
}

fn in_state(state: JobState) -> JobFilter {
    JobFilter {
        state: Some(state),
        kind: None,
    }
}

fn of_kind(kind: JobKind) -> JobFilter {
    JobFilter {
        state: None,
        kind: Some(kind),
    }
}
