//! Applications and devices: what ChirpStack keeps beside what lives.
//!
//! ChirpStack's words say little. A tenant's key gets the same refusal for what is absent, what is another tenant's and
//! what it may not do; a global key gets a database's words where something that is referred to does not exist. What is
//! known better is found out by a second look, never from a text alone where a wrong reading would do harm.

use chirpstack_api::api;
use chirpstack_api::api::tenant_service_client::TenantServiceClient;
use downbeat_actors::port::{ListedApplication, ListedDevice, NetworkServerError};
use downbeat_core::app_key::AppKey;
use downbeat_core::id::DevEui;
use downbeat_core::sync::RemoteDevice;
use uuid::Uuid;

use super::client::{ANSWER_BYTES_MAX, ChirpStackClient, unreadable};
use super::convert;
use super::failure::{Meaning, Subject};
use super::key::{Reach, Witness};
use super::network_server::PAGE;

/// Applications or tenants that are listed at the most.
const LISTED_MAX: usize = 100_000;

/// Characters of a device's name at the most (ChirpStack's column). Longer ones are INTERNAL there, as if it might pass.
const NAME_CHARS_MAX: usize = 100;

impl ChirpStackClient {
    pub(super) async fn list_applications(
        &self,
        tenant_id: Option<Uuid>,
    ) -> Result<Vec<ListedApplication>, NetworkServerError> {
        let tenants = match tenant_id {
            Some(tenant_id) => vec![tenant_id],
            None => match self.reach().await? {
                Reach::Tenant(tenant_id) => vec![tenant_id],
                Reach::Everything | Reach::Unknown => self.all_tenants().await?,
            },
        };
        let mut listed = Vec::new();
        for tenant_id in tenants {
            self.append_applications(tenant_id, &mut listed).await?;
        }
        listed.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        // Rows that came or went between two pages may have shifted one into both.
        listed.dedup_by_key(|application| application.id);
        Ok(listed)
    }

    async fn append_applications(
        &self,
        tenant_id: Uuid,
        listed: &mut Vec<ListedApplication>,
    ) -> Result<(), NetworkServerError> {
        let mut offset = 0;
        while listed.len() < LISTED_MAX {
            let page = self.request(api::ListApplicationsRequest {
                limit: PAGE,
                offset,
                tenant_id: tenant_id.to_string(),
                ..api::ListApplicationsRequest::default()
            });
            let mut applications = self.applications_api();
            let page = self.of_server(applications.list(page)).await?.result;
            self.granted(|_| ());
            let rows = page.len();
            for application in page {
                listed.push(convert::listed_application(application).map_err(unreadable)?);
            }
            if rows < PAGE as usize {
                break;
            }
            offset += PAGE;
        }
        Ok(())
    }

    /// Only a global key may ask.
    async fn all_tenants(&self) -> Result<Vec<Uuid>, NetworkServerError> {
        let mut listed = Vec::new();
        let mut offset = 0;
        while listed.len() < LISTED_MAX {
            let mut tenants = TenantServiceClient::new(self.channel())
                .max_decoding_message_size(ANSWER_BYTES_MAX);
            let page = self.request(api::ListTenantsRequest {
                limit: PAGE,
                offset,
                ..api::ListTenantsRequest::default()
            });
            let page = self.of_server(tenants.list(page)).await?.result;
            let rows = page.len();
            for tenant in page {
                listed.push(convert::tenant_id(&tenant.id).map_err(unreadable)?);
            }
            if rows < PAGE as usize {
                break;
            }
            offset += PAGE;
        }
        Ok(listed)
    }

    /// A row that cannot be read fails the page: left out, it would make the page look like the last one.
    pub(super) async fn list_devices(
        &self,
        application_id: Uuid,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<ListedDevice>, NetworkServerError> {
        let mut devices = self.devices_api();
        let page = self.request(api::ListDevicesRequest {
            limit,
            offset,
            application_id: application_id.to_string(),
            // Names are not unique.
            order_by: api::list_devices_request::OrderBy::DevEui.into(),
            ..api::ListDevicesRequest::default()
        });
        let page = self
            .of_object(Subject::Server, devices.list(page), || {
                no_application(application_id)
            })
            .await?;
        self.granted(|key| key.witness = Some(Witness::Application(application_id)));
        page.result
            .into_iter()
            .map(convert::listed_device)
            .collect::<Result<_, _>>()
            .map_err(unreadable)
    }

    pub(super) async fn get_device(
        &self,
        dev_eui: DevEui,
    ) -> Result<Option<RemoteDevice>, NetworkServerError> {
        let mut devices = self.devices_api();
        let get = self.request(api::GetDeviceRequest {
            dev_eui: dev_eui.to_string(),
        });
        match self.of_device(dev_eui, devices.get(get)).await {
            Ok(answer) => convert::remote_device(answer.device.unwrap_or_default())
                .map(Some)
                .map_err(unreadable),
            Err(NetworkServerError::UnknownDevice(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn insert_device(
        &self,
        device: &RemoteDevice,
    ) -> Result<(), NetworkServerError> {
        check(device)?;
        let mut devices = self.devices_api();
        let create = self.request(api::CreateDeviceRequest {
            device: Some(convert::device(device)),
        });
        self.of_object(
            Subject::DeviceRecord(device.dev_eui),
            devices.create(create),
            || {
                format!(
                    "{}, or the key is read-only",
                    no_application(device.application_id)
                )
            },
        )
        .await?;
        self.granted(|key| key.witness = Some(Witness::Application(device.application_id)));
        Ok(())
    }

    pub(super) async fn replace_device(
        &self,
        device: &RemoteDevice,
    ) -> Result<(), NetworkServerError> {
        check(device)?;
        let mut devices = self.devices_api();
        let update = self.request(api::UpdateDeviceRequest {
            device: Some(convert::device(device)),
        });
        let failure = match self.within_deadline(devices.update(update)).await {
            Ok(()) => {
                self.granted(|key| key.witness = Some(Witness::Device(device.dev_eui)));
                return Ok(());
            }
            Err(failure) => failure,
        };
        match failure.meaning(Subject::DeviceRecord(device.dev_eui)) {
            Meaning::Error(error) => Err(error),
            // The device, its application or its profile is not there for this key, or the key is read-only.
            Meaning::NoRight => Err(self
                .refused_write(device.dev_eui, || {
                    format!(
                        "no application {} with a device profile {} that this key may use, or the key is read-only",
                        device.application_id, device.device_profile_id
                    )
                })
                .await),
        }
    }

    /// Why a write was refused without a word: whether the device is not there at all, or what `otherwise` says.
    async fn refused_write(
        &self,
        dev_eui: DevEui,
        otherwise: impl FnOnce() -> String,
    ) -> NetworkServerError {
        match self.get_device(dev_eui).await {
            Ok(None) => NetworkServerError::UnknownDevice(dev_eui),
            Ok(Some(_)) => NetworkServerError::Invalid(otherwise()),
            // That the look got no answer does not put the write in doubt: it was refused.
            Err(NetworkServerError::AnswerLost(cause)) => NetworkServerError::Unavailable(cause),
            Err(error) => error,
        }
    }

    pub(super) async fn remove_device(&self, dev_eui: DevEui) -> Result<(), NetworkServerError> {
        let mut devices = self.devices_api();
        let delete = self.request(api::DeleteDeviceRequest {
            dev_eui: dev_eui.to_string(),
        });
        match self.of_device(dev_eui, devices.delete(delete)).await {
            // A read-only key is told the same: a device must not be taken for gone that is there.
            Err(NetworkServerError::UnknownDevice(_)) => {
                return Err(self.refused_write(dev_eui, read_only).await);
            }
            settled => settled?,
        }
        // It tells nothing of the key any more.
        self.granted(|key| key.witness = None);
        Ok(())
    }

    /// The keys beside it stay: `UpdateKeys` replaces all of them, and `gen_app_key` is what firmware updates over the air
    /// need.
    pub(super) async fn put_app_key(
        &self,
        dev_eui: DevEui,
        key: &AppKey,
    ) -> Result<(), NetworkServerError> {
        match self.update_app_key(dev_eui, key).await {
            Err(NetworkServerError::UnknownDevice(_)) => {}
            settled => return settled,
        }
        // Either there is no device, or it has no keys: a refused Create tells which, and so does a foreign key.
        let mut devices = self.devices_api();
        let create = self.request(api::CreateDeviceKeysRequest {
            device_keys: Some(api::DeviceKeys {
                dev_eui: dev_eui.to_string(),
                nwk_key: key.expose_hex(),
                ..api::DeviceKeys::default()
            }),
        });
        match self.of_device(dev_eui, devices.create_keys(create)).await {
            // Somebody was faster, or something else is wrong: the update tells.
            Err(NetworkServerError::Refused(text)) => {
                match self.update_app_key(dev_eui, key).await {
                    Err(NetworkServerError::UnknownDevice(_)) => {
                        Err(NetworkServerError::Refused(text))
                    }
                    settled => settled,
                }
            }
            Err(NetworkServerError::UnknownDevice(_)) => {
                Err(self.refused_write(dev_eui, read_only).await)
            }
            settled => settled,
        }
    }

    /// [`NetworkServerError::UnknownDevice`] also for a device without keys.
    async fn update_app_key(
        &self,
        dev_eui: DevEui,
        key: &AppKey,
    ) -> Result<(), NetworkServerError> {
        let mut devices = self.devices_api();
        let get = self.request(api::GetDeviceKeysRequest {
            dev_eui: dev_eui.to_string(),
        });
        let held = self.of_device(dev_eui, devices.get_keys(get)).await?;
        let update = self.request(api::UpdateDeviceKeysRequest {
            device_keys: Some(api::DeviceKeys {
                dev_eui: dev_eui.to_string(),
                nwk_key: key.expose_hex(),
                ..held.device_keys.unwrap_or_default()
            }),
        });
        self.of_device(dev_eui, devices.update_keys(update)).await
    }
}

fn read_only() -> String {
    "the key is read-only".to_owned()
}

pub(super) fn no_application(application_id: Uuid) -> String {
    format!("no application {application_id} that this key may use")
}

/// What ChirpStack refuses with words that sound as if the refusal might pass.
fn check(device: &RemoteDevice) -> Result<(), NetworkServerError> {
    let invalid = |text: &str| Err(NetworkServerError::Invalid(text.to_owned()));
    if device.name.is_empty() || device.name.chars().count() > NAME_CHARS_MAX {
        return invalid("a device's name must have 1 to 100 characters");
    }
    let mut texts = [&device.name, &device.description]
        .into_iter()
        .chain(device.tags.iter().flat_map(|(key, value)| [key, value]))
        .chain(
            device
                .variables
                .iter()
                .flat_map(|(key, value)| [key, value]),
        );
    if texts.any(|text| text.contains('\0')) {
        return invalid("a device's texts must not contain the character U+0000");
    }
    Ok(())
}
