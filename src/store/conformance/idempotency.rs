//! Repeatable requests.

use super::*;

pub(in crate::store) async fn a_repeated_request_gets_the_first_answer(store: &Store) {
    let new = reservation(Scope::Platform, 1);
    assert_eq!(
        store
            .reservation(&new.key, &new.request_hash)
            .await
            .unwrap(),
        None
    );
    assert_eq!(store.reserve(&new).await.unwrap(), Reservation::New);
    let answer = IdempotentAnswer {
        status: 202,
        body: b"{\"id\":1}\xff".to_vec(),
    };
    store.answer(&new.key, &answer).await.unwrap();
    let again = NewReservation {
        resource_id: Uuid::now_v7(),
        at: at(9),
        ..new.clone()
    };
    assert_eq!(
        store.reserve(&again).await.unwrap(),
        Reservation::Answered(answer.clone())
    );
    let known = store
        .reservation(&new.key, &new.request_hash)
        .await
        .unwrap();
    assert_eq!(known, Some(Reservation::Answered(answer.clone())));
    // What is answered is not given back.
    store.release(&new.key).await.unwrap();
    assert_eq!(
        store.reserve(&new).await.unwrap(),
        Reservation::Answered(answer)
    );
}

pub(in crate::store) async fn an_unanswered_reservation_tells_what_to_look_for(store: &Store) {
    let new = reservation(Scope::Platform, 1);
    store.reserve(&new).await.unwrap();
    let again = NewReservation {
        resource_id: Uuid::now_v7(),
        at: at(9),
        ..new.clone()
    };
    let unanswered = Reservation::Unanswered {
        resource_id: new.resource_id,
        at: new.at,
    };
    assert_eq!(store.reserve(&again).await.unwrap(), unanswered);
}

pub(in crate::store) async fn the_same_key_with_another_body_is_a_mismatch(store: &Store) {
    let new = reservation(Scope::Platform, 1);
    store.reserve(&new).await.unwrap();
    let other = NewReservation {
        request_hash: [99; 32],
        ..new
    };
    assert_eq!(store.reserve(&other).await.unwrap(), Reservation::Mismatch);
}

pub(in crate::store) async fn a_released_reservation_is_free_again(store: &Store) {
    let new = reservation(Scope::Platform, 1);
    store.reserve(&new).await.unwrap();
    store.release(&new.key).await.unwrap();
    assert_eq!(store.reserve(&new).await.unwrap(), Reservation::New);
}

pub(in crate::store) async fn keys_of_different_scopes_and_operations_never_meet(store: &Store) {
    let tenant = Scope::Tenant(default_tenant(store).await);
    let new = reservation(Scope::Platform, 1);
    assert_eq!(store.reserve(&new).await.unwrap(), Reservation::New);
    assert_eq!(
        store.reserve(&reservation(tenant, 1)).await.unwrap(),
        Reservation::New
    );
    assert_eq!(
        store
            .reserve(&reservation(Scope::Platform, 2))
            .await
            .unwrap(),
        Reservation::New
    );
    let operation = "POST /elsewhere".to_owned();
    let elsewhere = NewReservation {
        key: IdempotencyKey {
            operation,
            ..new.key.clone()
        },
        ..new
    };
    assert_eq!(store.reserve(&elsewhere).await.unwrap(), Reservation::New);
}

pub(in crate::store) async fn of_many_at_once_one_is_first(store: &Store) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        tasks.spawn(async move {
            store
                .reserve(&reservation(Scope::Platform, 1))
                .await
                .unwrap()
        });
    }
    let answers = tasks.join_all().await;
    assert_eq!(
        answers
            .iter()
            .filter(|answer| **answer == Reservation::New)
            .count(),
        1
    );
}

pub(in crate::store) async fn old_reservations_are_forgotten(store: &Store) {
    let new = reservation(Scope::Platform, 1);
    store.reserve(&new).await.unwrap();
    assert_eq!(store.delete_reservations_before(new.at).await.unwrap(), 0);
    assert_eq!(store.delete_reservations_before(at(2)).await.unwrap(), 1);
    assert_eq!(store.reserve(&new).await.unwrap(), Reservation::New);
}

fn reservation(scope: Scope, key: u8) -> NewReservation {
    let operation = "POST /api/v1/downlink/202020ff50330000".to_owned();
    NewReservation {
        key: IdempotencyKey {
            scope,
            key_hash: [key; 32],
            operation,
        },
        request_hash: [7; 32],
        resource_id: Uuid::now_v7(),
        at: at(1),
    }
}
