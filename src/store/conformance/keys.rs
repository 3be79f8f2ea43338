//! API keys.

use downbeat_actors::port::StoreError;

use super::*;

pub(in crate::store) async fn a_key_is_found_by_its_hash_and_can_be_taken_back(store: &Store) {
    let key = ApiKey {
        expires_at: Some(at(100)),
        ..key(None, Role::Admin, 1)
    };
    store.create_api_key(&key, &[1; 32], &by()).await.unwrap();
    assert_eq!(
        store.api_key_by_hash(&[1; 32]).await.unwrap(),
        Some(key.clone())
    );
    assert_eq!(store.api_key_by_hash(&[2; 32]).await.unwrap(), None);
    assert!(key.is_valid_at(at(99)) && !key.is_valid_at(at(100)));

    assert!(
        store
            .revoke_api_key(Scope::Platform, key.id, at(50), &by())
            .await
            .unwrap()
    );
    assert!(
        store
            .revoke_api_key(Scope::Platform, key.id, at(60), &by())
            .await
            .unwrap()
    );
    let revoked = store.api_key_by_hash(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(at(50)));
    assert!(!revoked.is_valid_at(at(51)));
    let unknown = ApiKeyId::from_uuid(Uuid::now_v7());
    assert!(
        !store
            .revoke_api_key(Scope::Platform, unknown, at(50), &by())
            .await
            .unwrap()
    );
}

pub(in crate::store) async fn a_tenant_sees_its_own_keys(store: &Store) {
    let tenant = default_tenant(store).await;
    let acme = new_tenant(store, "acme").await;
    let keys = [
        key(None, Role::Admin, 1),
        key(Some(tenant), Role::Operator, 2),
        key(Some(tenant), Role::Webhook, 3),
        key(Some(acme), Role::Viewer, 4),
    ];
    for (number, key) in (0_u8..).zip(&keys) {
        store
            .create_api_key(key, &[number; 32], &by())
            .await
            .unwrap();
    }
    let own = store
        .list_api_keys(Scope::Tenant(tenant), PageRequest::default())
        .await
        .unwrap();
    assert_eq!(own.items, keys[1..3]);
    let first = store
        .list_api_keys(Scope::Platform, PageRequest::first(3))
        .await
        .unwrap();
    assert_eq!(first.items, keys[..3]);
    let rest = PageRequest {
        limit: 3,
        after: first.next,
    };
    assert_eq!(
        store
            .list_api_keys(Scope::Platform, rest)
            .await
            .unwrap()
            .items,
        keys[3..]
    );
    for (foreign, scope) in [
        (&keys[0], Scope::Tenant(tenant)),
        (&keys[1], Scope::Tenant(acme)),
    ] {
        assert!(
            !store
                .revoke_api_key(scope, foreign.id, at(9), &by())
                .await
                .unwrap()
        );
    }
}

pub(in crate::store) async fn the_last_use_is_noted_and_never_goes_back(store: &Store) {
    let key = key(None, Role::Viewer, 1);
    store.create_api_key(&key, &[1; 32], &by()).await.unwrap();
    let unknown = ApiKeyId::from_uuid(Uuid::now_v7());
    for used in [
        &[(key.id, at(20)), (unknown, at(1))][..],
        &[(key.id, at(10))],
        &[],
    ] {
        store.touch_api_keys(used).await.unwrap();
    }
    assert_eq!(
        store
            .api_key_by_hash(&[1; 32])
            .await
            .unwrap()
            .unwrap()
            .last_used_at,
        Some(at(20))
    );
}

pub(in crate::store) async fn a_key_of_no_tenant_is_refused(store: &Store) {
    let nobody = Some(TenantId::from_uuid(Uuid::now_v7()));
    let refused = store
        .create_api_key(&key(nobody, Role::Admin, 1), &[1; 32], &by())
        .await;
    assert!(
        matches!(refused, Err(StoreError::Rejected(_))),
        "{refused:?}"
    );
}

fn key(tenant_id: Option<TenantId>, role: Role, second: i64) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_uuid(Uuid::now_v7()),
        tenant_id,
        role,
        name: "a key".to_owned(),
        prefix: "db_1234".to_owned(),
        created_at: at(second),
        expires_at: None,
        revoked_at: None,
        requests_per_minute: None,
        last_used_at: None,
    }
}
