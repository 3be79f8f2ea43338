//! `DeviceService`: registry and queue, with the status codes that ChirpStack really gives.

use std::collections::BTreeMap;

use chirpstack_api::api::device_service_server::DeviceService;
use chirpstack_api::api::{
    ActivateDeviceRequest, CreateDeviceKeysRequest, CreateDeviceRequest, DeactivateDeviceRequest,
    DeleteDeviceKeysRequest, DeleteDeviceRequest, Device, DeviceActivation, DeviceKeys,
    DeviceListItem, DeviceQueueItem, EnqueueDeviceQueueItemRequest, EnqueueDeviceQueueItemResponse,
    FlushDevNoncesRequest, FlushDeviceQueueRequest, GetDeviceActivationRequest,
    GetDeviceActivationResponse, GetDeviceKeysRequest, GetDeviceKeysResponse,
    GetDeviceLinkMetricsRequest, GetDeviceLinkMetricsResponse, GetDeviceMetricsRequest,
    GetDeviceMetricsResponse, GetDeviceNextFCntDownRequest, GetDeviceNextFCntDownResponse,
    GetDeviceQueueItemsRequest, GetDeviceQueueItemsResponse, GetDeviceRequest, GetDeviceResponse,
    GetRandomDevAddrRequest, GetRandomDevAddrResponse, ListDevicesRequest, ListDevicesResponse,
    UpdateDeviceKeysRequest, UpdateDeviceRequest, list_devices_request::OrderBy,
};
use chirpstack_api::common;
use downbeat_core::id::DevEui;
use downbeat_core::radio::DeviceClass;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::auth::{aes_key, dev_eui, eui, no_right, status_of, uuid};
use super::config::KeyKind;
use super::rpc::{Rpc, page, timestamp, unimplemented_rpcs};
use crate::model::{self, ApiFault, DeviceFields, DeviceRecord, NewQueueItem, QueuedItem};

#[tonic::async_trait]
impl DeviceService for Rpc {
    async fn create(&self, request: Request<CreateDeviceRequest>) -> Result<Response<()>, Status> {
        let kind = self.world.admit_writer(request.metadata()).await?;
        let device = request
            .into_inner()
            .device
            .ok_or_else(|| Status::invalid_argument("device is missing"))?;
        let (eui, fields) = self.read_device(device, kind, Write::Create)?;
        let created = self
            .world
            .with(|network, now| network.create_device(now, eui, fields));
        created.map_err(|fault| status_of(&fault, kind, &eui.to_string(), "device_pkey"))?;
        self.world.answer(()).await
    }

    async fn get(
        &self,
        request: Request<GetDeviceRequest>,
    ) -> Result<Response<GetDeviceResponse>, Status> {
        let kind = self.world.admit_tenant(request.metadata()).await?;
        let eui = dev_eui(&request.get_ref().dev_eui)?;
        let record = self.record(eui, kind)?;
        let answer = GetDeviceResponse {
            device: Some(write_device(&record)),
            created_at: Some(self.time(record.created_at)),
            updated_at: Some(self.time(record.updated_at)),
            last_seen_at: record.last_seen_at.map(|at| self.time(at)),
            device_status: None,
            class_enabled: class(record.class_enabled).into(),
        };
        self.world.answer(answer).await
    }

    async fn update(&self, request: Request<UpdateDeviceRequest>) -> Result<Response<()>, Status> {
        let kind = self.world.admit_writer(request.metadata()).await?;
        let device = request
            .into_inner()
            .device
            .ok_or_else(|| Status::invalid_argument("device is missing"))?;
        self.record(dev_eui(&device.dev_eui)?, kind)?;
        let named = !device.name.is_empty();
        let (eui, fields) = self.read_device(device, kind, Write::Update)?;
        if !named {
            return Err(Status::invalid_argument(
                "Validation error: name is not set",
            ));
        }
        let updated = self
            .world
            .with(|network, now| network.update_device(now, eui, fields));
        updated.map_err(|fault| of_device(&fault, kind, eui))?;
        self.world.answer(()).await
    }

    async fn delete(&self, request: Request<DeleteDeviceRequest>) -> Result<Response<()>, Status> {
        let kind = self.world.admit_writer(request.metadata()).await?;
        let eui = dev_eui(&request.get_ref().dev_eui)?;
        let deleted = self
            .world
            .with(|network, now| network.delete_device(now, eui));
        deleted.map_err(|fault| of_device(&fault, kind, eui))?;
        self.world.answer(()).await
    }

    async fn list(
        &self,
        request: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        let kind = self.world.admit_tenant(request.metadata()).await?;
        let asked = request.into_inner();
        Rpc::the_one(
            kind,
            &asked.application_id,
            self.world.identity.application_id,
        )?;
        let mut found: Vec<DeviceRecord> = self.world.with(|network, _| {
            network
                .devices()
                .filter(|record| is_asked_for(record, &asked))
                .cloned()
                .collect()
        });
        match asked.order_by() {
            OrderBy::Name => found.sort_by(|a, b| a.fields.name.cmp(&b.fields.name)),
            OrderBy::LastSeenAt => found.sort_by_key(|record| record.last_seen_at),
            OrderBy::DevEui | OrderBy::DeviceProfileName => {}
        }
        if asked.order_by_desc {
            found.reverse();
        }
        let (total_count, found) = page(found, asked.limit, asked.offset);
        let result = found.iter().map(|record| self.list_item(record)).collect();
        self.world
            .answer(ListDevicesResponse {
                total_count,
                result,
            })
            .await
    }

    async fn create_keys(
        &self,
        request: Request<CreateDeviceKeysRequest>,
    ) -> Result<Response<()>, Status> {
        let kind = self.world.admit_writer(request.metadata()).await?;
        let (eui, keys) = read_keys(request.into_inner().device_keys)?;
        let created = self
            .world
            .with(|network, now| network.create_keys(now, eui, keys));
        created.map_err(|fault| match (&fault, kind) {
            (ApiFault::UnknownDevice, KeyKind::Admin) => {
                Status::internal(foreign_key("device_keys", "dev_eui"))
            }
            _ => status_of(&fault, kind, &eui.to_string(), "device_keys_pkey"),
        })?;
        self.world.answer(()).await
    }

    async fn get_keys(
        &self,
        request: Request<GetDeviceKeysRequest>,
    ) -> Result<Response<GetDeviceKeysResponse>, Status> {
        let kind = self.world.admit_tenant(request.metadata()).await?;
        let eui = dev_eui(&request.get_ref().dev_eui)?;
        let keys = self
            .world
            .with(|network, _| network.keys(eui))
            .map_err(|fault| of_device(&fault, kind, eui))?;
        let hex = |key: [u8; 16]| format!("{:032x}", u128::from_be_bytes(key));
        let device_keys = DeviceKeys {
            dev_eui: eui.to_string(),
            nwk_key: hex(keys.nwk_key),
            app_key: hex(keys.app_key),
            gen_app_key: hex(keys.gen_app_key),
        };
        let (created_at, updated_at) = (Some(self.since_start()), Some(self.since_start()));
        self.world
            .answer(GetDeviceKeysResponse {
                device_keys: Some(device_keys),
                created_at,
                updated_at,
            })
            .await
    }

    async fn update_keys(
        &self,
        request: Request<UpdateDeviceKeysRequest>,
    ) -> Result<Response<()>, Status> {
        let kind = self.world.admit_writer(request.metadata()).await?;
        let (eui, keys) = read_keys(request.into_inner().device_keys)?;
        let updated = self
            .world
            .with(|network, now| network.update_keys(now, eui, keys));
        updated.map_err(|fault| of_device(&fault, kind, eui))?;
        self.world.answer(()).await
    }

    async fn delete_keys(
        &self,
        request: Request<DeleteDeviceKeysRequest>,
    ) -> Result<Response<()>, Status> {
        let kind = self.world.admit_writer(request.metadata()).await?;
        let eui = dev_eui(&request.get_ref().dev_eui)?;
        let deleted = self
            .world
            .with(|network, now| network.delete_keys(now, eui));
        deleted.map_err(|fault| of_device(&fault, kind, eui))?;
        self.world.answer(()).await
    }

    async fn flush_dev_nonces(
        &self,
        request: Request<FlushDevNoncesRequest>,
    ) -> Result<Response<()>, Status> {
        let kind = self.world.admit_writer(request.metadata()).await?;
        self.record(dev_eui(&request.get_ref().dev_eui)?, kind)?;
        self.world.answer(()).await
    }

    async fn deactivate(
        &self,
        request: Request<DeactivateDeviceRequest>,
    ) -> Result<Response<()>, Status> {
        let kind = self.world.admit_writer(request.metadata()).await?;
        let eui = dev_eui(&request.get_ref().dev_eui)?;
        let deactivated = self.world.with(|network, now| network.deactivate(now, eui));
        deactivated.map_err(|fault| of_device(&fault, kind, eui))?;
        self.world.answer(()).await
    }

    async fn get_activation(
        &self,
        request: Request<GetDeviceActivationRequest>,
    ) -> Result<Response<GetDeviceActivationResponse>, Status> {
        let kind = self.world.admit_tenant(request.metadata()).await?;
        let eui = dev_eui(&request.get_ref().dev_eui)?;
        let device_activation =
            self.record(eui, kind)?
                .activation()
                .map(|session| DeviceActivation {
                    dev_eui: eui.to_string(),
                    dev_addr: session.dev_addr.to_string(),
                    f_cnt_up: session.f_cnt_up,
                    n_f_cnt_down: session.f_cnt_down,
                    ..DeviceActivation::default()
                });
        self.world
            .answer(GetDeviceActivationResponse {
                device_activation,
                join_server_context: None,
            })
            .await
    }

    async fn enqueue(
        &self,
        request: Request<EnqueueDeviceQueueItemRequest>,
    ) -> Result<Response<EnqueueDeviceQueueItemResponse>, Status> {
        let kind = self.world.admit_writer(request.metadata()).await?;
        let EnqueueDeviceQueueItemRequest {
            queue_item,
            flush_queue,
        } = request.into_inner();
        let item = queue_item.ok_or_else(|| Status::invalid_argument("queue_item is missing"))?;
        let eui = dev_eui(&item.dev_eui)?;
        let expires_at_us = item.expires_at.as_ref().map(|at| {
            let real_us = at
                .seconds
                .saturating_mul(1_000_000)
                .saturating_add(i64::from(at.nanos / 1000));
            self.world.clock.to_model_us(real_us)
        });
        let [f_port, ..] = item.f_port.to_le_bytes();
        // With an `object` and no codec on the profile the payload is empty, without an error.
        let payload = if item.object.is_some() {
            Vec::new()
        } else {
            item.data
        };
        let new = NewQueueItem {
            f_port,
            payload,
            confirmed: item.confirmed,
            expires_at_us,
            flush_queue,
        };
        let id = self
            .world
            .with(|network, now| network.enqueue(now, eui, new));
        let id = id.map_err(|fault| match (&fault, kind) {
            (ApiFault::UnknownDevice, KeyKind::Admin) => {
                Status::internal(foreign_key("device_queue_item", "dev_eui"))
            }
            _ => of_device(&fault, kind, eui),
        })?;
        self.world
            .answer(EnqueueDeviceQueueItemResponse { id: id.to_string() })
            .await
    }

    async fn flush_queue(
        &self,
        request: Request<FlushDeviceQueueRequest>,
    ) -> Result<Response<()>, Status> {
        let kind = self.world.admit_writer(request.metadata()).await?;
        let eui = dev_eui(&request.get_ref().dev_eui)?;
        let flushed = self.world.with(|network, now| network.flush(now, eui));
        flushed.map_err(|fault| of_device(&fault, kind, eui))?;
        self.world.answer(()).await
    }

    async fn get_queue(
        &self,
        request: Request<GetDeviceQueueItemsRequest>,
    ) -> Result<Response<GetDeviceQueueItemsResponse>, Status> {
        let kind = self.world.admit_tenant(request.metadata()).await?;
        let eui = dev_eui(&request.get_ref().dev_eui)?;
        let queue = self.world.with(|network, now| {
            // What the model has not lived through yet may still be in the queue that it knows.
            network.catch_up(now);
            network.queue(eui)
        });
        let queue = queue.map_err(|fault| of_device(&fault, kind, eui))?;
        let total_count = u32::try_from(queue.len()).unwrap_or(u32::MAX);
        let result = queue
            .into_iter()
            .map(|item| self.queue_item(eui, item))
            .collect();
        self.world
            .answer(GetDeviceQueueItemsResponse {
                total_count,
                result,
            })
            .await
    }

    async fn get_next_f_cnt_down(
        &self,
        request: Request<GetDeviceNextFCntDownRequest>,
    ) -> Result<Response<GetDeviceNextFCntDownResponse>, Status> {
        let kind = self.world.admit_tenant(request.metadata()).await?;
        let eui = dev_eui(&request.get_ref().dev_eui)?;
        let f_cnt_down = self.world.with(|network, _| network.next_f_cnt_down(eui));
        let f_cnt_down = f_cnt_down.map_err(|fault| of_device(&fault, kind, eui))?;
        self.world
            .answer(GetDeviceNextFCntDownResponse { f_cnt_down })
            .await
    }

    unimplemented_rpcs! {
        activate: ActivateDeviceRequest => ();
        get_random_dev_addr: GetRandomDevAddrRequest => GetRandomDevAddrResponse;
        get_metrics: GetDeviceMetricsRequest => GetDeviceMetricsResponse;
        get_link_metrics: GetDeviceLinkMetricsRequest => GetDeviceLinkMetricsResponse;
    }
}

impl Rpc {
    fn record(&self, eui: DevEui, kind: KeyKind) -> Result<DeviceRecord, Status> {
        let record = self.world.with(|network, _| network.device(eui).cloned());
        record.map_err(|fault| of_device(&fault, kind, eui))
    }

    /// What a caller writes of a device, its application and profile checked.
    fn read_device(
        &self,
        device: Device,
        kind: KeyKind,
        write: Write,
    ) -> Result<(DevEui, DeviceFields), Status> {
        let identity = &self.world.identity;
        let key = dev_eui(&device.dev_eui)?;
        let application_id = uuid(&device.application_id)?;
        let device_profile_id = uuid(&device.device_profile_id)?;
        let join_eui = eui(&device.join_eui)?;
        if application_id != identity.application_id {
            return Err(match kind {
                KeyKind::Admin => match write {
                    Write::Create => Status::internal("Record not found"),
                    Write::Update => Status::internal(foreign_key("device", "application_id")),
                },
                KeyKind::Tenant | KeyKind::ReadOnly | KeyKind::OtherTenant => no_right(),
            });
        }
        if device_profile_id != identity.device_profile_id {
            // Only Update asks whether the key may see the profile.
            return Err(match (write, kind) {
                (Write::Create, _) | (Write::Update, KeyKind::Admin) => {
                    Status::internal(foreign_key("device", "device_profile_id"))
                }
                (Write::Update, KeyKind::Tenant | KeyKind::ReadOnly | KeyKind::OtherTenant) => {
                    no_right()
                }
            });
        }
        if device.name.chars().count() > 100 {
            return Err(Status::internal(
                "value too long for type character varying(100)",
            ));
        }
        let fields = DeviceFields {
            name: device.name,
            description: device.description,
            application_id,
            device_profile_id,
            join_eui,
            is_disabled: device.is_disabled,
            skip_fcnt_check: device.skip_fcnt_check,
            tags: device.tags.into_iter().collect(),
            variables: device.variables.into_iter().collect(),
        };
        Ok((key, fields))
    }

    fn list_item(&self, record: &DeviceRecord) -> DeviceListItem {
        DeviceListItem {
            dev_eui: record.dev_eui.to_string(),
            created_at: Some(self.time(record.created_at)),
            updated_at: Some(self.time(record.updated_at)),
            last_seen_at: record.last_seen_at.map(|at| self.time(at)),
            name: record.fields.name.clone(),
            description: record.fields.description.clone(),
            device_profile_id: record.fields.device_profile_id.to_string(),
            device_profile_name: self.world.identity.device_profile_name.clone(),
            device_status: None,
            tags: record.fields.tags.clone().into_iter().collect(),
        }
    }

    fn queue_item(&self, eui: DevEui, item: QueuedItem) -> DeviceQueueItem {
        DeviceQueueItem {
            id: item.id.to_string(),
            dev_eui: eui.to_string(),
            confirmed: item.confirmed,
            f_port: u32::from(item.f_port),
            data: item.payload,
            object: None,
            is_pending: item.is_pending,
            f_cnt_down: item.f_cnt_down,
            is_encrypted: false,
            expires_at: item
                .expires_at_us
                .map(|us| timestamp(self.world.clock.to_real_us(us))),
        }
    }
}

/// PostgreSQL's words for a column that refers to nothing.
fn foreign_key(table: &str, column: &str) -> String {
    format!(
        "insert or update on table \"{table}\" violates foreign key constraint \"{table}_{column}_fkey\""
    )
}

/// The two calls that write a device.
#[derive(Debug, Clone, Copy)]
enum Write {
    Create,
    Update,
}

fn of_device(fault: &ApiFault, kind: KeyKind, eui: DevEui) -> Status {
    status_of(fault, kind, &eui.to_string(), "device_pkey")
}

fn write_device(record: &DeviceRecord) -> Device {
    let fields = record.fields.clone();
    Device {
        dev_eui: record.dev_eui.to_string(),
        name: fields.name,
        description: fields.description,
        application_id: fields.application_id.to_string(),
        device_profile_id: fields.device_profile_id.to_string(),
        skip_fcnt_check: fields.skip_fcnt_check,
        is_disabled: fields.is_disabled,
        variables: fields.variables.into_iter().collect(),
        tags: fields.tags.into_iter().collect(),
        join_eui: format!("{:016x}", fields.join_eui),
    }
}

fn read_keys(keys: Option<DeviceKeys>) -> Result<(DevEui, model::DeviceKeys), Status> {
    let keys = keys.ok_or_else(|| Status::invalid_argument("device_keys is missing"))?;
    let read = model::DeviceKeys {
        nwk_key: aes_key(&keys.nwk_key)?,
        app_key: aes_key(&keys.app_key)?,
        gen_app_key: aes_key(&keys.gen_app_key)?,
    };
    Ok((dev_eui(&keys.dev_eui)?, read))
}

/// `search` looks at names only; every tag asked for must be there.
fn is_asked_for(record: &DeviceRecord, asked: &ListDevicesRequest) -> bool {
    let tags: BTreeMap<&String, &String> = asked.tags.iter().collect();
    record
        .fields
        .name
        .to_lowercase()
        .contains(&asked.search.to_lowercase())
        && tags
            .iter()
            .all(|(key, value)| record.fields.tags.get(*key) == Some(*value))
        && (asked.device_profile_id.is_empty()
            || Uuid::parse_str(&asked.device_profile_id) == Ok(record.fields.device_profile_id))
}

fn class(class: DeviceClass) -> common::DeviceClass {
    match class {
        DeviceClass::A => common::DeviceClass::ClassA,
        DeviceClass::B => common::DeviceClass::ClassB,
        DeviceClass::C => common::DeviceClass::ClassC,
    }
}
