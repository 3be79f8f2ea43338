//! Who did what.

use downbeat_core::app_key::AppKey;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;

pub(in crate::store) async fn every_change_leaves_an_entry(store: &Store) {
    let who = By {
        key_id: Some(Uuid::from_u128(5)),
        name: "Ann's \"key\"".to_owned(),
        address: Some("2001:db8::1".parse().unwrap()),
        request_id: Some("r-1".to_owned()),
    };
    let tenant = tenant_named("acme");
    let scope = Scope::Tenant(tenant.id);
    change_everything(store, &tenant, &who).await;

    let entries = all(store, scope, AuditFilter::default()).await;
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.at, entry.action.as_str()))
        .collect();
    let expected = [
        (12, "tenant.delete"),
        (10, "key.revoke"),
        (9, "key.create"),
        (8, "network_server.delete"),
        (7, "network_server.set"),
        (6, "device.delete"),
        (5, "device.sync_all"),
        (4, "device.sync"),
        (3, "device.update"),
        (2, "device.create"),
        (1, "tenant.update"),
        (0, "tenant.create"),
    ];
    assert_eq!(told, expected.map(|(second, action)| (at(second), action)));
    for entry in &entries {
        assert_eq!((&entry.by, entry.tenant_id), (&who, Some(tenant.id)));
        let text = format!("{entry:?}");
        for secret in ["topsecret", "a5a5", "165, 165", "3031", "abcdxy"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let app_key = |entry: &AuditEntry| {
        let told = |object: &Option<Value>| object.as_ref().map(|object| object["app_key"].clone());
        (told(&entry.before), told(&entry.after))
    };
    assert_eq!(app_key(&entries[9]), (None, Some(json!("default"))));
    assert_eq!(
        app_key(&entries[8]),
        (Some(json!("default")), Some(json!("set")))
    );
    assert_eq!(app_key(&entries[5]), (Some(json!("set")), None));
    let renamed = &entries[10];
    assert_eq!(renamed.before.as_ref().unwrap()["name"], json!("acme"));
    assert_eq!(renamed.after.as_ref().unwrap()["name"], json!("ACME"));
    assert_eq!(renamed.object_id, tenant.id.to_string());
}

pub(in crate::store) async fn what_fails_leaves_no_entry(store: &Store) {
    let tenant = default_tenant(store).await;
    register(store, tenant, 1).await;
    let before = all(store, Scope::Platform, AuditFilter::default()).await;
    let twice = store
        .create_device(Scope::Platform, &synced_lamp(tenant, 1), &by())
        .await;
    assert!(twice.is_err());
    let stale = store
        .update_tenant(
            Scope::Platform,
            tenant,
            &TenantFields::named("x"),
            Some(9),
            at(1),
            &by(),
        )
        .await;
    assert!(stale.is_err());
    let after = all(store, Scope::Platform, AuditFilter::default()).await;
    assert_eq!(before, after);
    assert_eq!(store.load_sync(on_default(1)).await.unwrap(), None);
}

pub(in crate::store) async fn entries_are_added_once_and_found(store: &Store) {
    let (tenant, acme) = (default_tenant(store).await, new_tenant(store, "acme").await);
    let device = register(store, tenant, 1).await;
    let entry = |second: i64, action: &str, tenant_id| AuditEntry {
        id: Uuid::now_v7(),
        at: at(second),
        tenant_id,
        by: By {
            key_id: Some(Uuid::from_u128(u128::try_from(second).unwrap() % 2)),
            ..by()
        },
        action: action.to_owned(),
        object_id: "202020ff00000001".to_owned(),
        before: None,
        after: Some(json!({ "second": second, "text": "\u{0}'\"" })),
    };
    let entries = [
        entry(100, "downlink.send", Some(tenant)),
        entry(101, "downlink.send", Some(tenant)),
        entry(101, "downlinks", Some(tenant)),
        entry(102, "downlink.cancel", Some(acme)),
        entry(103, "downlink.send", None),
    ];
    for _ in 0..2 {
        store.append_audit(&entries[..3]).await.unwrap();
    }
    store.append_audit(&entries[3..]).await.unwrap();
    store.append_audit(&[]).await.unwrap();
    // With a device's change, and once only.
    let sent = entry(104, "downlink.send", Some(tenant));
    let told = DeviceChange {
        audit: Some(sent.clone()),
        ..change(&device, "{}", at(104))
    };
    for _ in 0..2 {
        store.commit(std::slice::from_ref(&told)).await.unwrap();
    }

    let count = async |scope, filter| all(store, scope, filter).await.len();
    let filter = AuditFilter {
        from: Some(at(100)),
        ..AuditFilter::default()
    };
    assert_eq!(count(Scope::Platform, filter.clone()).await, 6);
    assert_eq!(count(Scope::Tenant(tenant), filter.clone()).await, 4);
    assert_eq!(count(Scope::Tenant(acme), filter.clone()).await, 1);
    for (action, expected) in [
        ("downlink", 5),
        ("downlink.send", 4),
        ("downlinks", 1),
        ("downlin", 0),
        ("%", 0),
        ("", 0),
    ] {
        let filter = AuditFilter {
            action: Some(action.to_owned()),
            ..filter.clone()
        };
        assert_eq!(count(Scope::Platform, filter).await, expected, "{action}");
    }
    let narrow = AuditFilter {
        object_id: Some("202020ff00000001".to_owned()),
        key_id: Some(ApiKeyId::from_uuid(Uuid::from_u128(1))),
        to: Some(at(103)),
        ..filter.clone()
    };
    assert_eq!(count(Scope::Platform, narrow).await, 2);
    let newest = store
        .list_audit(Scope::Platform, &filter, PageRequest::first(1))
        .await
        .unwrap();
    assert_eq!(newest.items, [sent]);
}

/// Makes one change of each kind, each a second after the one before.
async fn change_everything(store: &Store, tenant: &Tenant, who: &By) {
    let scope = Scope::Tenant(tenant.id);
    store.create_tenant(tenant, who).await.unwrap();
    let fields = TenantFields::named("ACME");
    store
        .update_tenant(scope, tenant.id, &fields, None, at(1), who)
        .await
        .unwrap();
    let mut new = synced_lamp(tenant.id, 2);
    new.app_key = Some(AppKey::from_bytes([0xa5; 16]));
    store.create_device(scope, &new, who).await.unwrap();
    let key = Some(AppKey::from_bytes(*b"0123456789abcdxy"));
    store
        .update_device(
            scope,
            new.id,
            &new.fields,
            key.map_or(AppKeyChange::Keep, AppKeyChange::Set),
            None,
            at(3),
            who,
        )
        .await
        .unwrap();
    store
        .request_sync(scope, new.id, true, at(4), who)
        .await
        .unwrap();
    store.request_sync_all(scope, at(5), who).await.unwrap();
    store
        .delete_device(scope, new.id, None, at(6), who)
        .await
        .unwrap();
    confirm_absence(store, on_default(2)).await;
    let server = NetworkServerFields {
        url: "http://a".to_owned(),
        api_key: Some(SecretString::from("topsecret")),
    };
    store
        .put_network_server(scope, tenant.id, &server, at(7), who)
        .await
        .unwrap();
    store
        .delete_network_server(scope, tenant.id, at(8), who)
        .await
        .unwrap();
    let key = api_key(tenant.id);
    store.create_api_key(&key, &[9; 32], who).await.unwrap();
    for second in [10, 11] {
        assert!(
            store
                .revoke_api_key(scope, key.id, at(second), who)
                .await
                .unwrap()
        );
    }
    store
        .delete_tenant(scope, tenant.id, None, at(12), who)
        .await
        .unwrap();
}

async fn all(store: &Store, scope: Scope, filter: AuditFilter) -> Vec<AuditEntry> {
    let mut entries = Vec::new();
    let mut page = PageRequest::first(2);
    loop {
        let listed = store.list_audit(scope, &filter, page).await.unwrap();
        entries.extend(listed.items);
        let Some(next) = listed.next else { break };
        page.after = Some(next);
    }
    entries
}

fn api_key(tenant_id: TenantId) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_uuid(Uuid::now_v7()),
        tenant_id: Some(tenant_id),
        role: Role::Admin,
        name: "a key".to_owned(),
        prefix: "db_1234".to_owned(),
        created_at: at(9),
        expires_at: None,
        revoked_at: None,
        requests_per_minute: None,
        last_used_at: None,
    }
}
