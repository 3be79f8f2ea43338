//! Another tenant's data does not exist: not to be read, and not to be written. Every method that takes a scope is called
//! here with a stranger's.

use downbeat_actors::port::HistoryEntry;
use secrecy::SecretString;

use super::*;

pub(in crate::store) async fn a_stranger_reads_nothing(store: &Store) {
    let owner = Owner::settle(store).await;
    let stranger = Scope::Tenant(new_tenant(store, "stranger").await);
    let page = PageRequest::default();
    let Owner {
        tenant,
        device,
        key,
        ..
    } = owner;
    assert_eq!(store.tenant(stranger, tenant).await.unwrap(), None);
    assert_eq!(store.tenant_by_name(stranger, "owner").await.unwrap(), None);
    let tenants = store.list_tenants(stranger, page).await.unwrap();
    assert_eq!(tenants.items.len(), 1);
    assert!(
        store
            .network_server(stranger, tenant)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(store.device(stranger, device.id).await.unwrap(), None);
    let by_dev_eui = store.device_by_dev_eui(stranger, eui(1)).await;
    assert_eq!(by_dev_eui.unwrap(), None);
    assert_eq!(store.device_by_key(stranger, key).await.unwrap(), None);
    for filter in [
        DeviceFilter::default(),
        DeviceFilter {
            dev_eui: Some(eui(1)),
            synced: Some(false),
            ..DeviceFilter::default()
        },
    ] {
        let devices = store.list_devices(stranger, &filter, page).await.unwrap();
        assert_eq!(devices.items, []);
        assert_eq!(store.count_devices(stranger, &filter).await.unwrap(), 0);
    }
    let events = store
        .list_device_events(stranger, device.id, None, None, None, page)
        .await
        .unwrap();
    assert_eq!(events.items.len(), 0);
    let query = TelemetryQuery {
        field: "x".to_owned(),
        from: at(0),
        to: at(100),
        step: None,
        limit: 9,
    };
    let stepped = TelemetryQuery {
        step: Some(std::time::Duration::from_secs(1)),
        ..query.clone()
    };
    for query in [query, stepped] {
        let points = store.telemetry(stranger, device.id, &query).await.unwrap();
        assert_eq!(points, []);
        let own = Scope::Tenant(tenant);
        let points = store.telemetry(own, device.id, &query).await.unwrap();
        assert_eq!(points.len(), 1);
    }
    let fields = store.telemetry_fields(stranger, device.id).await.unwrap();
    assert_eq!(fields, []);
    let api_key = store.api_key(stranger, owner.api_key.id).await.unwrap();
    assert_eq!(api_key, None);
    assert_eq!(store.list_api_keys(stranger, page).await.unwrap().items, []);
    assert_eq!(store.unclaimed(stranger, eui(2)).await.unwrap(), None);
    assert_eq!(
        store.list_unclaimed(stranger, page).await.unwrap().items,
        []
    );
    assert_eq!(store.drift(stranger, tenant, eui(3)).await.unwrap(), None);
    let (checked_at, drifts) = store.list_drift(stranger, tenant, page).await.unwrap();
    assert_eq!((checked_at, drifts.items), (None, Vec::new()));
    let mine = AuditFilter {
        action: Some("device".to_owned()),
        ..AuditFilter::default()
    };
    let entries = store.list_audit(stranger, &mine, page).await.unwrap();
    assert_eq!(entries.items, []);
    assert_eq!(store.downlink(stranger, owner.command).await.unwrap(), None);
    let downlinks = store.list_downlinks(stranger, DownlinkFilter::default(), page);
    assert_eq!(downlinks.await.unwrap().items, []);
    let period = OutcomeFilter {
        step: Some(std::time::Duration::from_secs(10)),
        tag: Some("site".to_owned()),
        ..OutcomeFilter::period(at(0), at(100))
    };
    let outcomes = store.downlink_outcomes(stranger, &period).await.unwrap();
    assert_eq!(outcomes, DownlinkOutcomes::default());
}

pub(in crate::store) async fn a_stranger_writes_nothing(store: &Store) {
    let owner = Owner::settle(store).await;
    let stranger = Scope::Tenant(new_tenant(store, "stranger").await);
    let before = owner.seen(store).await;
    let (tenant, id) = (owner.tenant, owner.device.id);
    let fields = owner.device.fields.clone();

    let done = store
        .update_tenant(
            stranger,
            tenant,
            &TenantFields::named("x"),
            None,
            at(9),
            &by(),
        )
        .await;
    assert!(
        matches!(done, Err(WriteTenantError::UnknownTenant)),
        "{done:?}"
    );
    let done = store
        .delete_tenant(stranger, tenant, None, at(9), &by())
        .await;
    assert!(
        matches!(done, Err(WriteTenantError::UnknownTenant)),
        "{done:?}"
    );
    let server = NetworkServerFields {
        url: "http://evil".to_owned(),
        api_key: None,
    };
    let done = store
        .put_network_server(stranger, tenant, &server, at(9), &by())
        .await;
    assert!(
        matches!(done, Err(WriteNetworkServerError::UnknownTenant)),
        "{done:?}"
    );
    let done = store
        .delete_network_server(stranger, tenant, at(9), &by())
        .await;
    assert!(
        matches!(done, Err(WriteNetworkServerError::UnknownTenant)),
        "{done:?}"
    );
    let done = store.create_device(stranger, &lamp(tenant, 7), &by()).await;
    assert!(
        matches!(done, Err(WriteDeviceError::UnknownTenant)),
        "{done:?}"
    );
    let done = store
        .update_device(
            stranger,
            id,
            &fields,
            AppKeyChange::Clear,
            Some(1),
            at(9),
            &by(),
        )
        .await;
    assert!(
        matches!(done, Err(WriteDeviceError::UnknownDevice)),
        "{done:?}"
    );
    let done = store
        .delete_device(stranger, id, Some(1), at(9), &by())
        .await;
    assert!(
        matches!(done, Err(WriteDeviceError::UnknownDevice)),
        "{done:?}"
    );
    let done = store.request_sync(stranger, id, true, at(9), &by()).await;
    assert_eq!(done.unwrap(), None);
    let done = store.request_sync_all(stranger, at(9), &by()).await;
    assert_eq!(done.unwrap(), 0);
    let done = store
        .revoke_api_key(stranger, owner.api_key.id, at(9), &by())
        .await;
    assert!(!done.unwrap());
    assert!(!store.forget_unclaimed(stranger, eui(2)).await.unwrap());
    let done = store.ignore_drift(stranger, tenant, &[eui(3)], true).await;
    assert_eq!(done.unwrap(), 0);
    let done = store.remove_drift(stranger, tenant, &[eui(3)]).await;
    assert_eq!(done.unwrap(), 0);

    assert_eq!(owner.seen(store).await, before);
}

/// A tenant that has one of everything.
struct Owner {
    tenant: TenantId,
    device: Device,
    key: DeviceKey,
    api_key: ApiKey,
    command: DownlinkId,
}

impl Owner {
    async fn settle(store: &Store) -> Self {
        let tenant = new_tenant(store, "owner").await;
        let scope = Scope::Tenant(tenant);
        let server = NetworkServerFields {
            url: "http://a".to_owned(),
            api_key: Some(SecretString::from("secret")),
        };
        store
            .put_network_server(scope, tenant, &server, at(1), &by())
            .await
            .unwrap();
        let key = |number| DeviceKey {
            server: NetworkServerId::Tenant(tenant),
            dev_eui: eui(number),
        };
        let sighting = UnclaimedSighting {
            key: key(2),
            tenant_id: Some(tenant),
            name: String::new(),
            application_id: None,
            device_profile_id: None,
            at: at(2),
            events: 1,
            rssi_dbm: None,
        };
        store.note_unclaimed(&[sighting]).await.unwrap();
        let drift = Drift {
            dev_eui: eui(3),
            device_id: None,
            kind: DriftKind::MissingInRegistry,
            chirpstack_name: None,
            application_id: None,
            device_profile_id: None,
            differences: Vec::new(),
            found_at: at(2),
            ignored: false,
        };
        store.replace_drift(tenant, at(2), &[drift]).await.unwrap();
        let device = store
            .create_device(scope, &synced_lamp(tenant, 1), &by())
            .await
            .unwrap();
        let api_key = ApiKey {
            id: ApiKeyId::from_uuid(Uuid::now_v7()),
            tenant_id: Some(tenant),
            role: Role::Admin,
            name: "a key".to_owned(),
            prefix: "db_1234".to_owned(),
            created_at: at(2),
            expires_at: None,
            revoked_at: None,
            requests_per_minute: None,
            last_used_at: None,
        };
        store
            .create_api_key(&api_key, &[3; 32], &by())
            .await
            .unwrap();
        let mut command = downlink(at(3));
        let spoke = DeviceChange {
            records: vec![record(&mut command, DownlinkState::Accepted, at(3))],
            history: vec![HistoryEntry {
                at: at(3),
                kind: "up",
                body: "{}".to_owned(),
            }],
            telemetry: vec![("x".into(), TelemetryValue::Number(1.0))],
            ..change(&device, "{}", at(3))
        };
        store.commit(&[spoke]).await.unwrap();
        Self {
            tenant,
            key: key(1),
            device,
            api_key,
            command: command.id,
        }
    }

    /// All that a stranger might have written, in words.
    async fn seen(&self, store: &Store) -> String {
        let scope = Scope::Tenant(self.tenant);
        let page = PageRequest::default();
        let sync = store.load_sync(self.key).await.unwrap();
        let server = store.network_server(scope, self.tenant).await.unwrap();
        format!(
            "{:?}",
            (
                store.tenant(scope, self.tenant).await.unwrap(),
                server.map(|server| (server.url, server.version)),
                store
                    .list_devices(scope, &DeviceFilter::default(), page)
                    .await
                    .unwrap(),
                sync,
                store.list_api_keys(scope, page).await.unwrap(),
                store.list_unclaimed(scope, page).await.unwrap(),
                store.list_drift(scope, self.tenant, page).await.unwrap(),
                store
                    .list_audit(scope, &AuditFilter::default(), page)
                    .await
                    .unwrap(),
            )
        )
    }
}
