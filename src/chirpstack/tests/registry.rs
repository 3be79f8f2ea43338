//! Applications, devices and keys, for each kind of API key.

use std::collections::BTreeMap;
use std::time::Duration;

use downbeat_actors::port::{ListedApplication, NetworkServer};
use downbeat_core::app_key::AppKey;
use downbeat_core::id::{DevEui, JoinEui};
use downbeat_core::sync::{OWNER_TAG, RemoteDevice};
use downbeat_sim::server::{ChirpstackFaults, Identity, KeyKind, RunningSim};
use tonic::Code;
use uuid::Uuid;

use super::{
    ChirpStackClient, ChirpStackConfig, LIST_TENANTS, Reply, Server, config, first_light, kind,
    simulated,
};

const CREATE: &str = "/api.DeviceService/Create";
const CREATE_KEYS: &str = "/api.DeviceService/CreateKeys";
const GET_KEYS: &str = "/api.DeviceService/GetKeys";
const UPDATE_KEYS: &str = "/api.DeviceService/UpdateKeys";

/// Both kinds of key that reach the simulated tenant.
const KEYS: [KeyKind; 2] = [KeyKind::Admin, KeyKind::Tenant];

fn lamp() -> RemoteDevice {
    let text = |text: &str| text.to_owned();
    RemoteDevice {
        dev_eui: DevEui::from_u64(0x2020_20ff_0000_0001),
        name: text("Desk 14"),
        description: text("by the window"),
        application_id: Identity::default().application_id,
        device_profile_id: Identity::default().device_profile_id,
        join_eui: JoinEui::from_u64(0x2020_2000_0000_0001),
        is_disabled: true,
        skip_fcnt_check: true,
        tags: BTreeMap::from([
            (text(OWNER_TAG), Uuid::nil().to_string()),
            (text("floor"), text("3")),
        ]),
        variables: BTreeMap::from([(text("token"), text("of others"))]),
    }
}

fn app_key(last: u8) -> AppKey {
    let mut bytes = *b"0123456789abcde\0";
    bytes[15] = last;
    AppKey::from_bytes(bytes)
}

async fn known_to(key: KeyKind) -> (RunningSim, ChirpStackClient) {
    simulated(key, Some(Identity::default().tenant_id)).await
}

#[tokio::test]
async fn a_device_comes_back_whole_changes_whole_and_goes() {
    for key in KEYS {
        let (sim, client) = known_to(key).await;
        let made = lamp();
        assert_eq!(client.device(made.dev_eui).await.unwrap(), None, "{key:?}");
        client.create_device(&made).await.unwrap();
        let held = client.device(made.dev_eui).await.unwrap();
        assert_eq!(held.as_ref(), Some(&made), "{key:?}");

        let again = client.create_device(&made).await.unwrap_err();
        assert_eq!(kind(&again), "refused", "{key:?}: {again:?}");

        let changed = RemoteDevice {
            name: "Desk 15".to_owned(),
            description: String::new(),
            join_eui: JoinEui::from_u64(0),
            is_disabled: false,
            skip_fcnt_check: false,
            tags: BTreeMap::new(),
            ..made
        };
        client.update_device(&changed).await.unwrap();
        let held = client.device(changed.dev_eui).await.unwrap();
        assert_eq!(held.as_ref(), Some(&changed), "{key:?}");

        client.delete_device(changed.dev_eui).await.unwrap();
        assert_eq!(client.device(changed.dev_eui).await.unwrap(), None);
        for gone in [
            client.delete_device(changed.dev_eui).await,
            client.update_device(&changed).await,
            client.set_app_key(changed.dev_eui, &app_key(1)).await,
        ] {
            let gone = gone.unwrap_err();
            assert_eq!(kind(&gone), "unknown device", "{key:?}: {gone:?}");
        }
        sim.shutdown().await;
    }
}

#[tokio::test]
async fn what_a_device_refers_to_must_exist() {
    let nobody = Uuid::from_u128(7);
    for key in KEYS {
        let (sim, client) = known_to(key).await;
        let made = lamp();
        let of_nobody = RemoteDevice {
            application_id: nobody,
            ..made.clone()
        };
        let like_nothing = RemoteDevice {
            device_profile_id: nobody,
            ..made.clone()
        };
        for wrong in [&of_nobody, &like_nothing] {
            let error = client.create_device(wrong).await.unwrap_err();
            assert_eq!(kind(&error), "invalid", "{key:?}: {error:?}");
        }
        client.create_device(&made).await.unwrap();
        for wrong in [&of_nobody, &like_nothing] {
            let error = client.update_device(wrong).await.unwrap_err();
            assert_eq!(kind(&error), "invalid", "{key:?}: {error:?}");
        }
        assert_eq!(client.device(made.dev_eui).await.unwrap(), Some(made));
        let error = client.devices(nobody, 0, 10).await.unwrap_err();
        assert_eq!(kind(&error), "invalid", "{key:?}: {error:?}");
        sim.shutdown().await;
    }
}

#[tokio::test]
async fn a_read_only_key_sees_everything_and_takes_nothing_for_gone() {
    let (sim, client) = known_to(KeyKind::ReadOnly).await;
    let light = first_light(&client).await;
    let held = client.device(light).await.unwrap().unwrap();
    for refused in [
        client.create_device(&lamp()).await,
        client.update_device(&held).await,
        client.delete_device(light).await,
        client.set_app_key(light, &app_key(1)).await,
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(kind(&refused), "invalid", "{refused:?}");
        assert!(refused.to_string().contains("read-only"), "{refused}");
    }
    let gone = client.delete_device(lamp().dev_eui).await.unwrap_err();
    assert_eq!(kind(&gone), "unknown device", "{gone:?}");
    assert!(!client.may_command(light).await.unwrap());
    assert_eq!(client.device(light).await.unwrap(), Some(held));
    sim.shutdown().await;
}

#[tokio::test]
async fn texts_that_chirpstack_cannot_keep_are_refused_for_good() {
    // Nobody listens: nothing is asked.
    let client = ChirpStackClient::connect_lazy(config("http://127.0.0.1:1".to_owned())).unwrap();
    let named = |name: &str| RemoteDevice {
        name: name.to_owned(),
        ..lamp()
    };
    let mut tagged = lamp();
    tagged.tags.insert("floor\0".to_owned(), String::new());
    for wrong in [named(""), named(&"x".repeat(101)), named("\0"), tagged] {
        for refused in [
            client.create_device(&wrong).await,
            client.update_device(&wrong).await,
        ] {
            assert_eq!(kind(&refused.unwrap_err()), "invalid");
        }
    }
    let longest = client.create_device(&named(&"ä".repeat(100))).await;
    assert_eq!(kind(&longest.unwrap_err()), "unavailable");
}

#[tokio::test]
async fn a_key_is_set_whether_there_was_one_or_not_and_its_neighbours_stay() {
    for key in KEYS {
        let (sim, client) = known_to(key).await;
        let device = lamp();
        client.create_device(&device).await.unwrap();
        let stored = || sim.network(|network, _| network.keys(device.dev_eui));
        assert!(stored().is_err());
        for last in [1, 1, 2] {
            client
                .set_app_key(device.dev_eui, &app_key(last))
                .await
                .unwrap();
            let held = stored().unwrap();
            assert_eq!(held.nwk_key, *app_key(last).expose_bytes());
            assert_eq!(held.gen_app_key, [0; 16]);
        }
        sim.network(|network, now| {
            let keys = downbeat_sim::model::DeviceKeys {
                gen_app_key: [9; 16],
                ..network.keys(device.dev_eui).unwrap()
            };
            network.update_keys(now, device.dev_eui, keys).unwrap();
        });
        client
            .set_app_key(device.dev_eui, &app_key(3))
            .await
            .unwrap();
        let held = stored().unwrap();
        assert_eq!(held.nwk_key, *app_key(3).expose_bytes());
        assert_eq!(held.gen_app_key, [9; 16]);
        sim.shutdown().await;
    }
}

#[tokio::test]
async fn a_key_that_appeared_in_between_is_replaced() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let asked = std::sync::Arc::new(asked);
    let server = Server::start(move |path| match path {
        GET_KEYS if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 => {
            Reply::Refuse(Code::NotFound, "Object does not exist (id: 20)")
        }
        CREATE_KEYS => Reply::Refuse(
            Code::Internal,
            "duplicate key value violates unique constraint \"device_keys_pkey\"",
        ),
        _ => Reply::Empty,
    })
    .await;
    let client = server.client();
    let set = client.set_app_key(lamp().dev_eui, &app_key(1)).await;
    set.unwrap();
    assert_eq!(
        server.calls(),
        [GET_KEYS, CREATE_KEYS, GET_KEYS, UPDATE_KEYS]
    );
}

#[tokio::test]
async fn a_device_is_absent_only_when_that_is_certain() {
    let light = lamp().dev_eui;
    // A key that is no longer accepted, and one of another tenant.
    let (sim, client) = known_to(KeyKind::OtherTenant).await;
    let error = client.device(light).await.unwrap_err();
    assert_eq!(kind(&error), "unauthenticated", "{error:?}");
    let error = client.create_device(&lamp()).await.unwrap_err();
    assert_eq!(kind(&error), "unauthenticated", "{error:?}");
    sim.shutdown().await;
    // A tenant's key is known to be good before it is known whose it is.
    let (sim, client) = simulated(KeyKind::Tenant, None).await;
    assert_eq!(client.device(light).await.unwrap(), None);
    client.device(first_light(&client).await).await.unwrap();
    assert_eq!(client.device(light).await.unwrap(), None);
    sim.shutdown().await;
    // Words that are not about the device.
    for (code, text, expected) in [
        (Code::Internal, "connection pool timed out", "refused"),
        (Code::Unavailable, "", "answer lost"),
        (Code::Unauthenticated, "InvalidToken", "unauthenticated"),
    ] {
        let server = Server::start(move |_| Reply::Refuse(code, text)).await;
        let error = server.client().device(light).await.unwrap_err();
        assert_eq!(kind(&error), expected, "{error:?}");
    }
    // A device that cannot be read is not absent.
    let server = Server::start(|_| Reply::Empty).await;
    let error = server.client().device(light).await.unwrap_err();
    assert_eq!(kind(&error), "answer lost", "{error:?}");
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_told_from_one_that_never_was() {
    let (sim, client) = known_to(KeyKind::Tenant).await;
    let impatient = ChirpStackClient::connect_lazy(ChirpStackConfig {
        tenant_id: Some(Identity::default().tenant_id),
        deadline: Duration::from_millis(300),
        ..config(format!("http://{}", sim.grpc_addr()))
    })
    .unwrap();
    let faulty = |faults: ChirpstackFaults| sim.set_faults(faults);
    faulty(ChirpstackFaults {
        lose_answers: 1.0,
        ..ChirpstackFaults::default()
    });
    let error = impatient.create_device(&lamp()).await.unwrap_err();
    assert_eq!(kind(&error), "answer lost", "{error:?}");
    faulty(ChirpstackFaults::default());
    let held = client.device(lamp().dev_eui).await.unwrap();
    assert_eq!(held, Some(lamp()));

    faulty(ChirpstackFaults {
        slow_ms: 60_000,
        ..ChirpstackFaults::default()
    });
    let error = impatient.delete_device(lamp().dev_eui).await.unwrap_err();
    assert_eq!(kind(&error), "answer lost", "{error:?}");
    faulty(ChirpstackFaults {
        failing: true,
        ..ChirpstackFaults::default()
    });
    for refused in [
        client.create_device(&lamp()).await,
        client.update_device(&lamp()).await,
        client.set_app_key(lamp().dev_eui, &app_key(1)).await,
        client.applications(None).await.map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(kind(&refused), "refused", "{refused:?}");
    }
    faulty(ChirpstackFaults {
        down: true,
        ..ChirpstackFaults::default()
    });
    let error = client.device(lamp().dev_eui).await.unwrap_err();
    assert_eq!(kind(&error), "answer lost", "{error:?}");
    sim.shutdown().await;
}

#[tokio::test]
async fn a_look_that_gets_no_answer_does_not_put_a_refused_create_in_doubt() {
    let server = Server::start(|path| match path {
        CREATE => Reply::Refuse(Code::Unauthenticated, ""),
        _ => Reply::Refuse(Code::Unavailable, ""),
    })
    .await;
    let error = server.client().create_device(&lamp()).await.unwrap_err();
    assert_eq!(kind(&error), "unavailable", "{error:?}");
    assert_eq!(server.calls(), [CREATE, LIST_TENANTS]);
}

#[tokio::test]
async fn applications_are_listed_for_whoever_may() {
    let identity = Identity::default();
    let expected = [ListedApplication {
        id: identity.application_id,
        name: identity.application_name.clone(),
    }];
    let tenant = Some(identity.tenant_id);
    for (key, configured, asked) in [
        (KeyKind::Admin, None, None),
        (KeyKind::Admin, None, tenant),
        (KeyKind::Tenant, tenant, None),
        (KeyKind::Tenant, None, tenant),
    ] {
        let (sim, client) = simulated(key, configured).await;
        let listed = client.applications(asked).await.unwrap();
        assert_eq!(listed, expected, "{key:?} {configured:?} {asked:?}");
        sim.shutdown().await;
    }
    // A tenant's key whose tenant is learnt from the first page of devices.
    let (sim, client) = simulated(KeyKind::Tenant, None).await;
    let error = client.applications(None).await.unwrap_err();
    assert_eq!(kind(&error), "unauthenticated", "{error:?}");
    first_light(&client).await;
    assert_eq!(client.applications(None).await.unwrap(), expected);
    let error = client.applications(Some(Uuid::nil())).await.unwrap_err();
    assert_eq!(kind(&error), "unauthenticated", "{error:?}");
    sim.shutdown().await;
}

#[tokio::test]
async fn a_listed_device_carries_its_labels() {
    let (sim, client) = known_to(KeyKind::Tenant).await;
    client.create_device(&lamp()).await.unwrap();
    let listed = client
        .devices(lamp().application_id, 0, 1_000)
        .await
        .unwrap();
    let listed = listed.iter().find(|row| row.dev_eui == lamp().dev_eui);
    let listed = listed.unwrap();
    assert_eq!(listed.name, lamp().name);
    assert_eq!(listed.description, lamp().description);
    assert_eq!(listed.tags, lamp().tags);
    sim.shutdown().await;
}
