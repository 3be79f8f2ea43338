//! Tenants' own network servers.

use secrecy::{ExposeSecret as _, SecretString};

use super::*;

pub(in crate::store) async fn a_network_server_is_kept_with_its_key(store: &Store) {
    let acme = new_tenant(store, "acme").await;
    let scope = Scope::Tenant(acme);
    assert!(store.network_server(scope, acme).await.unwrap().is_none());
    assert_eq!(
        store.network_server_of(acme).await.unwrap(),
        NetworkServerId::Default
    );
    let keyless = put(store, acme, "http://a:8080", None, 1).await;
    assert!(
        matches!(keyless, Err(WriteNetworkServerError::ApiKeyMissing)),
        "{keyless:?}"
    );
    let set = put(store, acme, "http://a:8080", Some("secret"), 1)
        .await
        .unwrap();
    assert_eq!((set.version, set.created_at), (1, at(1)));
    let again = put(store, acme, "https://b", None, 2).await.unwrap();
    assert_eq!((again.version, again.created_at), (2, at(1)));
    assert_eq!(again.updated_at, at(2));
    let found = store.network_server(scope, acme).await.unwrap().unwrap();
    assert_eq!((found.url.as_str(), found.tenant_id), ("https://b", acme));
    assert_eq!(found.api_key.expose_secret(), "secret");
    assert_eq!(
        store.network_server_of(acme).await.unwrap(),
        NetworkServerId::Tenant(acme)
    );
    let all = store.list_network_servers().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].api_key.expose_secret(), "secret");

    store
        .delete_network_server(scope, acme, at(3), &by())
        .await
        .unwrap();
    assert!(store.network_server(scope, acme).await.unwrap().is_none());
    let gone = store.delete_network_server(scope, acme, at(4), &by()).await;
    assert!(
        matches!(gone, Err(WriteNetworkServerError::Unknown)),
        "{gone:?}"
    );
    let nobody = TenantId::from_uuid(Uuid::now_v7());
    let lost = put(store, nobody, "http://a", Some("x"), 5).await;
    assert!(
        matches!(lost, Err(WriteNetworkServerError::UnknownTenant)),
        "{lost:?}"
    );
}

pub(in crate::store) async fn a_dev_eui_is_free_on_another_network_server(store: &Store) {
    let (tenant, acme) = (default_tenant(store).await, new_tenant(store, "acme").await);
    put(store, acme, "http://a", Some("x"), 1).await.unwrap();
    let ours = register(store, tenant, 1).await;
    let theirs = register(store, acme, 1).await;
    assert_eq!(ours.server, NetworkServerId::Default);
    let server = NetworkServerId::Tenant(acme);
    assert_eq!(theirs.server, server);
    let twice = store
        .create_device(Scope::Platform, &lamp(acme, 1), &by())
        .await;
    assert!(
        matches!(twice, Err(WriteDeviceError::DevEuiTaken)),
        "{twice:?}"
    );
    // The platform, which may not know whose it is, is shown that of the configuration's server.
    let found = async |scope| {
        let found = store.device_by_dev_eui(scope, eui(1)).await.unwrap();
        found.map(|device| device.id)
    };
    assert_eq!(found(Scope::Platform).await, Some(ours.id));
    assert_eq!(found(Scope::Tenant(acme)).await, Some(theirs.id));
    let key = DeviceKey {
        server,
        dev_eui: eui(1),
    };
    let by_key = async |scope, key| {
        let found = store.device_by_key(scope, key).await.unwrap();
        found.map(|device| device.id)
    };
    assert_eq!(by_key(Scope::Platform, key).await, Some(theirs.id));
    assert_eq!(by_key(Scope::Tenant(tenant), key).await, None);
    assert_eq!(by_key(Scope::Platform, on_default(1)).await, Some(ours.id));
    assert_eq!(store.load(key).await.unwrap().unwrap().device_id, theirs.id);
    assert_eq!(
        store.load(on_default(1)).await.unwrap().unwrap().device_id,
        ours.id
    );
    store
        .commit(&[DeviceChange {
            unfinished: true,
            ..change(&theirs, "theirs", at(2))
        }])
        .await
        .unwrap();
    assert_eq!(store.unfinished().await.unwrap(), [key]);
    assert_eq!(
        store.load(on_default(1)).await.unwrap().unwrap().state,
        None
    );
}

pub(in crate::store) async fn devices_on_the_air_hold_their_network_server(store: &Store) {
    let acme = new_tenant(store, "acme").await;
    let scope = Scope::Tenant(acme);
    let mut quiet = lamp(acme, 1);
    quiet.fields.dev_eui = None;
    let quiet = store.create_device(scope, &quiet, &by()).await.unwrap();
    let heard = store
        .create_device(scope, &synced_lamp(acme, 2), &by())
        .await
        .unwrap();
    let refused = put(store, acme, "http://a", Some("x"), 1).await;
    assert!(
        matches!(refused, Err(WriteNetworkServerError::HasDevices)),
        "{refused:?}"
    );
    store
        .delete_device(scope, heard.id, None, at(2), &by())
        .await
        .unwrap();
    let refused = put(store, acme, "http://a", Some("x"), 1).await;
    assert!(
        matches!(refused, Err(WriteNetworkServerError::HasDevices)),
        "{refused:?}"
    );
    confirm_absence(store, on_default(2)).await;
    put(store, acme, "http://a", Some("x"), 3).await.unwrap();

    // Who is on no air follows.
    let server = NetworkServerId::Tenant(acme);
    let device = store.device(scope, quiet.id).await.unwrap().unwrap();
    assert_eq!(device.server, server);
    let fields = DeviceFields {
        dev_eui: Some(eui(1)),
        ..device.fields
    };
    let device = store
        .update_device(
            scope,
            quiet.id,
            &fields,
            AppKeyChange::Keep,
            None,
            at(4),
            &by(),
        )
        .await
        .unwrap();
    assert_eq!(device.server, server);
    let refused = store.delete_network_server(scope, acme, at(5), &by()).await;
    assert!(
        matches!(refused, Err(WriteNetworkServerError::HasDevices)),
        "{refused:?}"
    );
    // Setting it again is no move.
    put(store, acme, "http://b", None, 6).await.unwrap();
    store
        .delete_device(scope, quiet.id, None, at(7), &by())
        .await
        .unwrap();
    store
        .delete_network_server(scope, acme, at(8), &by())
        .await
        .unwrap();
    assert_eq!(
        register(store, acme, 1).await.server,
        NetworkServerId::Default
    );
}

pub(in crate::store) async fn setting_it_again_wishes_its_devices_anew(store: &Store) {
    let acme = new_tenant(store, "acme").await;
    let tenant = default_tenant(store).await;
    put(store, acme, "http://a", Some("x"), 1).await.unwrap();
    let theirs = synced_lamp(acme, 1);
    let ours = synced_lamp(tenant, 1);
    for device in [&theirs, &ours] {
        let device = store
            .create_device(Scope::Platform, device, &by())
            .await
            .unwrap();
        let key = DeviceKey {
            server: device.server,
            dev_eui: eui(1),
        };
        fulfil(store, key).await;
    }
    put(store, acme, "http://b", None, 2).await.unwrap();
    let sync = async |id| {
        let device = store.device(Scope::Platform, id).await.unwrap().unwrap();
        device.sync.unwrap()
    };
    assert!(!sync(theirs.id).await.is_synced());
    assert!(sync(ours.id).await.is_synced());
    let server = NetworkServerId::Tenant(acme);
    assert_eq!(store.unfinished_syncs(server, 9).await.unwrap().len(), 1);
}

async fn put(
    store: &Store,
    tenant: TenantId,
    url: &str,
    api_key: Option<&str>,
    second: i64,
) -> Result<TenantNetworkServer, WriteNetworkServerError> {
    let fields = NetworkServerFields {
        url: url.to_owned(),
        api_key: api_key.map(SecretString::from),
    };
    store
        .put_network_server(Scope::Tenant(tenant), tenant, &fields, at(second), &by())
        .await
}
