//! Browsers that are signed in.

use downbeat_actors::port::StoreError;

use super::*;

pub(in crate::store) async fn sessions_are_kept_until_they_are_forgotten(store: &Store) {
    let tenant = default_tenant(store).await;
    let by_ticket = session(None, 1);
    let by_key = session(Some(key(store, Some(tenant), 1).await), 2);
    store
        .keep_browser_session(&by_ticket, &[1; 32])
        .await
        .unwrap();
    store.keep_browser_session(&by_key, &[2; 32]).await.unwrap();
    assert_eq!(
        kept(store).await,
        [([1; 32], by_ticket.clone()), ([2; 32], by_key.clone())]
    );

    let nobodys = BrowserSessionId::from_uuid(Uuid::now_v7());
    for used in [
        &[(by_key.id, at(30)), (nobodys, at(99))][..],
        &[(by_key.id, at(20))],
        &[],
    ] {
        store.touch_browser_sessions(used).await.unwrap();
    }
    store
        .forget_browser_sessions(&[by_ticket.id, nobodys])
        .await
        .unwrap();
    store.forget_browser_sessions(&[]).await.unwrap();
    let used = BrowserSession {
        used_at: at(30),
        ..by_key
    };
    assert_eq!(kept(store).await, [([2; 32], used)]);
}

pub(in crate::store) async fn a_session_is_worth_nothing_without_its_key(store: &Store) {
    let acme = new_tenant(store, "acme").await;
    let key = key(store, Some(acme), 1).await;
    let session = session(Some(key.clone()), 1);
    store
        .keep_browser_session(&session, &[1; 32])
        .await
        .unwrap();
    assert_eq!(kept(store).await.len(), 1);
    let scope = Scope::Tenant(acme);
    store
        .revoke_api_key(scope, key.id, at(9), &by())
        .await
        .unwrap();
    assert_eq!(kept(store).await, []);

    let unknown = SessionKey {
        id: ApiKeyId::from_uuid(Uuid::now_v7()),
        ..key
    };
    let refused = self::session(Some(unknown), 2);
    let refused = store.keep_browser_session(&refused, &[2; 32]).await;
    assert!(
        matches!(refused, Err(StoreError::Rejected(_))),
        "{refused:?}"
    );
}

async fn kept(store: &Store) -> Vec<([u8; 32], BrowserSession)> {
    let mut kept = store.browser_sessions().await.unwrap();
    kept.sort_by_key(|(hash, _)| *hash);
    kept
}

async fn key(store: &Store, tenant_id: Option<TenantId>, number: u8) -> SessionKey {
    let key = ApiKey {
        id: ApiKeyId::from_uuid(Uuid::now_v7()),
        tenant_id,
        role: Role::Operator,
        name: "reception".to_owned(),
        prefix: "db_1234".to_owned(),
        created_at: at(0),
        expires_at: None,
        revoked_at: None,
        requests_per_minute: None,
        last_used_at: None,
    };
    let hash = [number; 32];
    store.create_api_key(&key, &hash, &by()).await.unwrap();
    SessionKey {
        id: key.id,
        hash,
        tenant_id,
        role: key.role,
        name: key.name,
    }
}

pub(in crate::store) fn session(key: Option<SessionKey>, second: i64) -> BrowserSession {
    BrowserSession {
        id: BrowserSessionId::from_uuid(Uuid::now_v7()),
        key,
        began_at: at(second),
        used_at: at(second),
        address: Some("192.0.2.7".parse().unwrap()),
        agent: Some("Firefox".to_owned()),
    }
}
