//! Downlinks in lists and counts.

use downbeat_core::device::Reason;

use super::*;

pub(in crate::store) async fn a_downlink_is_read_with_its_timeline_in_its_scope(store: &Store) {
    let tenant = default_tenant(store).await;
    let stranger = Scope::Tenant(new_tenant(store, "acme").await);
    let device = register(store, tenant, 1).await;
    let mut command = downlink(at(1));
    let mut entries = Vec::new();
    for (second, state) in [
        (1, DownlinkState::Accepted),
        (2, DownlinkState::Waiting),
        (3, DownlinkState::Sent),
    ] {
        let record = record(&mut command, state, at(second));
        entries.push(record.entry.clone());
        let step = DeviceChange {
            records: vec![record],
            ..change(&device, "{}", at(second))
        };
        store.commit(&[step]).await.unwrap();
    }
    let found = store
        .downlink(Scope::Tenant(tenant), command.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.timeline, entries);
    assert_eq!(found.stored.downlink, command);
    assert_eq!(
        (found.stored.device_id, found.stored.dev_eui),
        (device.id, eui(1))
    );
    assert_eq!(found.stored.tenant_id, tenant);
    assert_eq!(store.downlink(stranger, command.id).await.unwrap(), None);
    let listed = store
        .list_downlinks(stranger, DownlinkFilter::default(), PageRequest::default())
        .await;
    assert_eq!(listed.unwrap().items, []);
}

pub(in crate::store) async fn downlinks_are_listed_newest_first_in_pages(store: &Store) {
    let device = register(store, default_tenant(store).await, 1).await;
    // Two of the same instant stand on different pages.
    let ids = accept(store, &device, &[1, 2, 2, 3]).await;
    let mut seen = Vec::new();
    let mut page = PageRequest::first(2);
    loop {
        let listed = store
            .list_downlinks(Scope::Platform, DownlinkFilter::default(), page)
            .await
            .unwrap();
        seen.extend(
            listed
                .items
                .iter()
                .map(|stored| stored.downlink.accepted_at),
        );
        let Some(next) = listed.next else { break };
        page.after = Some(next);
    }
    assert_eq!(seen, [at(3), at(2), at(2), at(1)]);
    assert_eq!(ids.len(), 4);
}

pub(in crate::store) async fn downlinks_are_filtered(store: &Store) {
    let tenant = default_tenant(store).await;
    let first = register(store, tenant, 1).await;
    let second = register(store, tenant, 2).await;
    accept(store, &first, &[1, 2, 3]).await;
    accept(store, &second, &[4]).await;
    finish(store, &first, at(5), at(6), DownlinkState::Verified).await;
    let count = async |filter| {
        let scope = Scope::Tenant(tenant);
        store
            .list_downlinks(scope, filter, PageRequest::default())
            .await
            .unwrap()
            .items
            .len()
    };
    let all = DownlinkFilter::default();
    assert_eq!(count(all).await, 5);
    assert_eq!(
        count(DownlinkFilter {
            dev_eui: Some(eui(1)),
            ..all
        })
        .await,
        4
    );
    assert_eq!(
        count(DownlinkFilter {
            state: Some(DownlinkState::Accepted),
            ..all
        })
        .await,
        4
    );
    assert_eq!(
        count(DownlinkFilter {
            state: Some(DownlinkState::Failed),
            ..all
        })
        .await,
        0
    );
    assert_eq!(
        count(DownlinkFilter {
            from: Some(at(3)),
            ..all
        })
        .await,
        3
    );
    let narrow = DownlinkFilter {
        dev_eui: Some(eui(1)),
        state: Some(DownlinkState::Verified),
        from: Some(at(5)),
        ..all
    };
    assert_eq!(count(narrow).await, 1);
}

pub(in crate::store) async fn downlinks_stay_their_devices_under_another_dev_eui(store: &Store) {
    let tenant = default_tenant(store).await;
    let device = register(store, tenant, 1).await;
    let before = accept(store, &device, &[1]).await;
    let fields = DeviceFields {
        dev_eui: Some(eui(7)),
        ..device.fields.clone()
    };
    let device = store
        .update_device(
            Scope::Tenant(tenant),
            device.id,
            &fields,
            AppKeyChange::Keep,
            None,
            at(2),
            &by(),
        )
        .await
        .unwrap();
    let after = accept(store, &device, &[3]).await;
    // Who has the DevEUI now has not got its past.
    let heir = register(store, tenant, 1).await;
    let ids = async |filter| {
        let scope = Scope::Tenant(tenant);
        let page = store.list_downlinks(scope, filter, PageRequest::default());
        let items = page.await.unwrap().items;
        items
            .iter()
            .map(|stored| stored.downlink.id)
            .collect::<Vec<_>>()
    };
    let of = |device: &Device| DownlinkFilter {
        device_id: Some(device.id),
        ..DownlinkFilter::default()
    };
    assert_eq!(ids(of(&device)).await, [after[0], before[0]]);
    assert_eq!(ids(of(&heir)).await, []);
    let old_eui = DownlinkFilter {
        dev_eui: Some(eui(1)),
        ..DownlinkFilter::default()
    };
    assert_eq!(ids(old_eui).await, before);
}

/// Downlinks that are accepted at these seconds.
pub(super) async fn accept(store: &Store, device: &Device, seconds: &[i64]) -> Vec<DownlinkId> {
    let mut ids = Vec::new();
    for &second in seconds {
        let mut command = downlink(at(second));
        let records = vec![record(&mut command, DownlinkState::Accepted, at(second))];
        store
            .commit(&[DeviceChange {
                records,
                ..change(device, "{}", at(second))
            }])
            .await
            .unwrap();
        ids.push(command.id);
    }
    ids
}

/// A downlink that ended after two attempts.
async fn finish(
    store: &Store,
    device: &Device,
    from: Timestamp,
    to: Timestamp,
    state: DownlinkState,
) {
    let mut command = downlink(from);
    command.attempts = 2;
    command.reason = (state == DownlinkState::Unverified).then_some(Reason::NotConfirmed);
    let records = vec![record(&mut command, state, to)];
    store
        .commit(&[DeviceChange {
            records,
            ..change(device, "{}", to)
        }])
        .await
        .unwrap();
}
