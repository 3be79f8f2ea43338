//! ChirpStack's devices of several applications, by DevEUI: each application is read page by page, and the pages are
//! merged.

use std::sync::Arc;
use std::vec::IntoIter;

use downbeat_actors::System;
use downbeat_actors::port::{ListedDevice, NetworkServer, NetworkServerError};
use downbeat_core::id::NetworkServerId;
use uuid::Uuid;

/// Devices of a page.
const PAGE: u32 = 100;

/// A device, and the application that it is in.
#[derive(Debug, Clone)]
pub(super) struct InApplication {
    pub(super) application_id: Uuid,
    pub(super) device: ListedDevice,
}

/// All of them, in their order.
pub(super) struct RemoteDevices<'a> {
    system: &'a System,
    server: NetworkServerId,
    applications: Vec<Application>,
}

/// How far an application was read.
struct Application {
    id: Uuid,
    /// The next device, once it was looked for.
    head: Option<ListedDevice>,
    page: IntoIter<ListedDevice>,
    offset: u32,
    is_over: bool,
}

impl<'a> RemoteDevices<'a> {
    pub(super) fn of(
        system: &'a System,
        server: NetworkServerId,
        applications: impl IntoIterator<Item = Uuid>,
    ) -> Self {
        let applications = applications.into_iter().map(|id| Application {
            id,
            head: None,
            page: Vec::new().into_iter(),
            offset: 0,
            is_over: false,
        });
        Self {
            system,
            server,
            applications: applications.collect(),
        }
    }

    /// The next device.
    pub(super) async fn next(&mut self) -> Result<Option<InApplication>, NetworkServerError> {
        for application in &mut self.applications {
            application.look(self.system, self.server).await?;
        }
        let heads = self.applications.iter_mut();
        let next = heads
            .filter_map(|it| Some((it.head.as_ref()?.dev_eui, it)))
            .min_by_key(|(dev_eui, _)| *dev_eui);
        Ok(next.and_then(|(_, application)| {
            Some(InApplication {
                application_id: application.id,
                device: application.head.take()?,
            })
        }))
    }
}

impl Application {
    /// Sees to it that the next device is known, if there is one.
    async fn look(
        &mut self,
        system: &System,
        server: NetworkServerId,
    ) -> Result<(), NetworkServerError> {
        while self.head.is_none() {
            self.head = self.page.next();
            if self.head.is_some() || self.is_over {
                return Ok(());
            }
            let page = page(system, server, self.id, self.offset).await?;
            self.offset = self.offset.saturating_add(PAGE);
            self.is_over = page.len() < PAGE as usize;
            self.page = page.into_iter();
        }
        Ok(())
    }
}

/// One page of an application's devices; an application that is not there has none.
async fn page(
    system: &System,
    server: NetworkServerId,
    application_id: Uuid,
    offset: u32,
) -> Result<Vec<ListedDevice>, NetworkServerError> {
    let call = move |server: Arc<dyn NetworkServer>| async move {
        server.devices(application_id, offset, PAGE).await
    };
    match system.call_server(server, call).await {
        Err(NetworkServerError::Invalid(_)) => Ok(Vec::new()),
        result => result,
    }
}

/// All devices of an application, page by page.
pub(crate) struct Devices {
    application: Application,
}

impl Devices {
    /// Those of this application.
    pub(crate) fn of(application_id: Uuid) -> Self {
        Self {
            application: Application {
                id: application_id,
                head: None,
                page: Vec::new().into_iter(),
                offset: 0,
                is_over: false,
            },
        }
    }

    /// The next one, by DevEUI.
    pub(crate) async fn next(
        &mut self,
        system: &System,
        server: NetworkServerId,
    ) -> Result<Option<ListedDevice>, NetworkServerError> {
        self.application.look(system, server).await?;
        Ok(self.application.head.take())
    }
}
