//! What is known of gateways and links, from one start to the next.

use downbeat_actors::port::{GatewayMemory, StoredGateway, StoredLinks};
use downbeat_core::id::GatewayId;
use downbeat_core::link_quality::table::Owner;

use super::*;

pub(in crate::store) async fn what_is_known_of_gateways_is_kept_by_network_server(store: &Store) {
    let default = NetworkServerId::Default;
    let own = NetworkServerId::Tenant(default_tenant(store).await);
    assert_eq!(store.load_gateways(default).await.unwrap(), []);
    let first = GatewayMemory {
        kept: vec![gateway(1, "[1]"), gateway(2, "[2]")],
        ..GatewayMemory::default()
    };
    store.keep_gateways(default, at(1), &first).await.unwrap();
    let of_tenant = GatewayMemory {
        kept: vec![gateway(1, "[7]")],
        ..GatewayMemory::default()
    };
    store.keep_gateways(own, at(1), &of_tenant).await.unwrap();
    let next = GatewayMemory {
        kept: vec![gateway(3, "[3]"), gateway(2, "[20]")],
        gone: vec![id(1), id(9)],
        ..GatewayMemory::default()
    };
    store.keep_gateways(default, at(5), &next).await.unwrap();
    assert_eq!(
        store.load_gateways(default).await.unwrap(),
        [gateway(2, "[20]"), gateway(3, "[3]")]
    );
    assert_eq!(store.load_gateways(own).await.unwrap(), [gateway(1, "[7]")]);

    assert_eq!(store.delete_gateways_before(at(5)).await.unwrap(), 1);
    assert_eq!(store.load_gateways(own).await.unwrap(), []);
    assert_eq!(store.load_gateways(default).await.unwrap().len(), 2);
}

pub(in crate::store) async fn links_are_kept_with_their_devices(store: &Store) {
    let (default, tenant) = (NetworkServerId::Default, default_tenant(store).await);
    let mut devices = Vec::new();
    for number in 1..=3 {
        devices.push(register(store, tenant, number).await);
    }
    let keep = async |links: Vec<StoredLinks>| {
        let memory = GatewayMemory {
            links,
            ..GatewayMemory::default()
        };
        store.keep_gateways(default, at(1), &memory).await.unwrap();
    };
    let load = async |after, limit| store.load_links(default, after, limit).await.unwrap();
    let nobody = Owner {
        device_id: DeviceId::from_uuid(Uuid::now_v7()),
        ..owner(&devices[0])
    };
    let all: Vec<StoredLinks> = devices
        .iter()
        .map(|device| links(owner(device), "[1]"))
        .collect();
    let mut told = all.clone();
    // Out of order, and one is of a device that is not there.
    told.reverse();
    told.push(links(nobody, "[1]"));
    keep(told).await;
    assert_eq!(load(None, 9).await, all);
    assert_eq!(load(None, 2).await, all[..2]);
    assert_eq!(load(Some(eui(2)), 2).await, all[2..]);
    let own = NetworkServerId::Tenant(tenant);
    assert_eq!(store.load_links(own, None, 9).await.unwrap(), []);

    keep(vec![links(owner(&devices[1]), "[2]")]).await;
    assert_eq!(
        load(Some(eui(1)), 1).await,
        [links(owner(&devices[1]), "[2]")]
    );

    // Under another DevEUI it is another device for gateways, and what comes late of the old one is dropped.
    let mut fields = devices[2].fields.clone();
    fields.dev_eui = Some(eui(30));
    let scope = Scope::Tenant(tenant);
    store
        .update_device(
            scope,
            devices[2].id,
            &fields,
            AppKeyChange::Keep,
            None,
            at(2),
            &by(),
        )
        .await
        .unwrap();
    keep(vec![links(owner(&devices[2]), "[3]")]).await;
    store
        .delete_device(scope, devices[0].id, None, at(3), &by())
        .await
        .unwrap();
    assert_eq!(load(None, 9).await, [links(owner(&devices[1]), "[2]")]);
}

fn id(number: u64) -> GatewayId {
    GatewayId::from_u64(number)
}

fn gateway(number: u64, record: &str) -> StoredGateway {
    StoredGateway {
        gateway_id: id(number),
        record: record.to_owned(),
    }
}

fn owner(device: &Device) -> Owner {
    Owner {
        dev_eui: device.fields.dev_eui.unwrap(),
        device_id: device.id,
        tenant_id: device.tenant_id,
    }
}

fn links(owner: Owner, links: &str) -> StoredLinks {
    StoredLinks {
        owner,
        links: links.to_owned(),
    }
}
