//! Revisions of devices: what lists are told by.

use std::collections::BTreeSet;

use downbeat_core::light::{Color, LightState};
use futures_util::future::join_all;

use super::*;

/// A device with the revision that both ways of reading agree on.
async fn revised(store: &Store, scope: Scope, id: DeviceId) -> RevisedDevice {
    let mut found = store
        .devices_by_id(scope, &BTreeSet::from([id]))
        .await
        .unwrap();
    let device = found.pop().unwrap();
    assert_eq!(found, []);
    let (filter, page) = (DeviceFilter::default(), PageRequest::first(100));
    let listed = store
        .list_device_revisions(scope, &filter, page)
        .await
        .unwrap();
    let listed: Vec<_> = listed.items.into_iter().filter(|it| it.id == id).collect();
    let expected = DeviceRevision {
        id,
        created_at: device.device.created_at,
        revision: device.revision,
    };
    assert_eq!(listed, [expected]);
    assert_eq!(
        store.device(scope, id).await.unwrap().as_ref(),
        Some(&device.device)
    );
    device
}

/// Notes each revision once, and what the device was like in it.
struct Seen<'a> {
    store: &'a Store,
    id: DeviceId,
    all: Vec<RevisedDevice>,
}

impl Seen<'_> {
    async fn changed(&mut self, what: &str) -> Device {
        let now = revised(self.store, Scope::Platform, self.id).await;
        let before = self.all.last().map(|it| &it.device);
        assert_ne!(
            before,
            Some(&now.device),
            "{what} changes nothing that is shown"
        );
        let is_new = self.all.iter().all(|it| it.revision != now.revision);
        assert!(is_new, "{what} gives no new revision");
        let device = now.device.clone();
        self.all.push(now);
        device
    }

    async fn update(&mut self, what: &str, change: impl Fn(&mut DeviceFields)) -> Device {
        let mut fields = self.all.last().unwrap().device.fields.clone();
        change(&mut fields);
        let (keep, by) = (AppKeyChange::Keep, by());
        let written = self
            .store
            .update_device(Scope::Platform, self.id, &fields, keep, None, at(9), &by)
            .await
            .unwrap();
        assert_eq!(self.changed(what).await, written, "{what}");
        written
    }
}

pub(in crate::store) async fn whatever_is_shown_of_a_device_is_another_revision(store: &Store) {
    let tenant = default_tenant(store).await;
    let new = synced_lamp(tenant, 1);
    let made = store
        .create_device(Scope::Platform, &new, &by())
        .await
        .unwrap();
    let mut seen = Seen {
        store,
        id: new.id,
        all: Vec::new(),
    };
    assert_eq!(seen.changed("making it").await, made);
    let again = revised(store, Scope::Platform, new.id).await;
    assert_eq!(Some(&again), seen.all.last(), "looking changes nothing");

    let red = LightState::steady(Color::rgb(255, 0, 0));
    let spoke = DeviceChange {
        last_seen: Some(at(5)),
        reported: Some((red, at(5))),
        ..change(&made, "{}", at(5))
    };
    store.commit(&[spoke]).await.unwrap();
    seen.changed("an uplink").await;

    let generation = fulfil(store, on_default(1)).await;
    seen.changed("being in step").await;
    let failing = SyncChange {
        status: SyncStatus {
            error: Some("away".to_owned()),
            attempts: 1,
            ..SyncStatus::default()
        },
        ..progress(on_default(1), generation, "failing")
    };
    store.commit_syncs(&[failing]).await.unwrap();
    seen.changed("a failed attempt").await;
    let requested = store
        .request_sync(Scope::Platform, new.id, false, at(9), &by())
        .await;
    assert!(requested.unwrap().is_some());
    seen.changed("a wish anew").await;
    store
        .request_sync_all(Scope::Platform, at(9), &by())
        .await
        .unwrap();
    seen.changed("a wish for all").await;

    seen.update("a name", |it| it.name = "Desk 4".to_owned())
        .await;
    seen.update("an interval", |it| {
        it.uplink_interval = Some(Duration::from_mins(5));
    })
    .await;
    let kept = seen
        .update("tags", |it| {
            drop(it.tags.insert("floor".into(), "3".into()));
        })
        .await;
    assert_eq!(kept.fields.uplink_interval, Some(Duration::from_mins(5)));
    seen.update("another DevEUI", |it| it.dev_eui = Some(eui(2)))
        .await;
    seen.update("leaving its application", |it| {
        it.chirpstack_app_id = None;
        it.device_profile_id = None;
    })
    .await;
    confirm_absence(store, on_default(2)).await;
    let gone = seen.changed("its absence").await;
    assert_eq!(gone.sync, None);
}

pub(in crate::store) async fn another_tenants_revisions_do_not_exist(store: &Store) {
    let (tenant, other) = (
        default_tenant(store).await,
        new_tenant(store, "Other").await,
    );
    let device = register(store, tenant, 1).await;
    let ids = BTreeSet::from([device.id]);
    let theirs = Scope::Tenant(other);
    assert_eq!(store.devices_by_id(theirs, &ids).await.unwrap(), []);
    let (filter, page) = (DeviceFilter::default(), PageRequest::first(100));
    let listed = store
        .list_device_revisions(theirs, &filter, page)
        .await
        .unwrap();
    assert_eq!((listed.items, listed.next), (Vec::new(), None));
    assert_eq!(
        revised(store, Scope::Tenant(tenant), device.id)
            .await
            .device,
        device
    );
}

pub(in crate::store) async fn devices_asked_for_at_once_are_each_scopes_own(store: &Store) {
    let (tenant, other) = (
        default_tenant(store).await,
        new_tenant(store, "Other").await,
    );
    let (mine, theirs) = (
        register(store, tenant, 1).await,
        register(store, other, 2).await,
    );
    let asked = (0..200).map(|number| {
        let device = if number % 2 == 0 { &mine } else { &theirs };
        let scope = if number % 3 == 0 { tenant } else { other };
        let found = store.device(Scope::Tenant(scope), device.id);
        async move {
            let expected = (device.tenant_id == scope).then_some(device);
            assert_eq!(found.await.unwrap().as_ref(), expected);
        }
    });
    futures_util::future::join_all(asked).await;
    let nobody = DeviceId::from_uuid(Uuid::now_v7());
    assert_eq!(store.device(Scope::Platform, nobody).await.unwrap(), None);
}

pub(in crate::store) async fn who_lists_at_once_sees_what_was_there_when_asking(store: &Store) {
    let (tenant, other) = (
        default_tenant(store).await,
        new_tenant(store, "Other").await,
    );
    let listers = (1..=40).map(|number| async move {
        let tenant = if number % 4 == 0 { other } else { tenant };
        let mine = register(store, tenant, number).await;
        let (filter, page) = (DeviceFilter::default(), PageRequest::first(100));
        let listed = store.list_device_revisions(Scope::Tenant(tenant), &filter, page);
        let listed: Vec<_> = listed.await.unwrap().items.iter().map(|it| it.id).collect();
        assert!(listed.contains(&mine.id), "{number}: {listed:?}");
        (tenant, listed)
    });
    let read = join_all(listers).await;
    for (tenant, listed) in read {
        for id in listed {
            let found = store.device(Scope::Tenant(tenant), id).await.unwrap();
            assert!(found.is_some(), "a page of another tenant");
        }
    }
}
