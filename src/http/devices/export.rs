//! `GET /api/v1/tenants/{tenant_id}/devices.csv`: a tenant's devices as a file.

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use crate::csv;
use crate::http::auth::Viewer;
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};
use crate::store::{Device, DeviceFilter, PAGE_MAX, Page, PageRequest, Scope};

/// What an import reads again. Keys are never exported.
const HEADER: [&str; 10] = [
    "name",
    "lorawan_dev_eui",
    "device_type",
    "description",
    "tags",
    "chirpstack_app_id",
    "device_profile_id",
    "join_eui",
    "codec",
    "uplink_interval_s",
];

/// A tenant's devices as CSV, oldest first
///
/// Importing the file again changes nothing. A cell that a spreadsheet would take for a formula has an apostrophe before
/// it, which the import takes away. Keys are not exported. A file that ends early, without the connection's proper
/// end, is not whole.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/devices.csv",
    tag = "devices",
    params(("tenant_id" = String, Path, description = "The tenant's id or name")),
    responses(
        (status = 200, description = "The file", body = String, content_type = "text/csv"),
        (status = 400, description = "A field is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn export(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(tenant): Path<String>,
) -> Result<Response, ApiError> {
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    let reader = Reader {
        state,
        scope: Scope::Tenant(tenant_id),
    };
    // The first page is read before the answer begins: if the database is away, that can still be said.
    let first = reader.page(PageRequest::first(PAGE_MAX)).await?;
    let pages = stream::try_unfold((reader, Next::Header(first)), |(reader, next)| async move {
        let (text, page) = match next {
            Next::Header(page) => (csv::line(HEADER), page),
            Next::Page(request) => {
                let page = reader.page(request).await.map_err(io::Error::other)?;
                (Vec::new(), page)
            }
            Next::Nothing => return Ok::<_, io::Error>(None),
        };
        let text = page.items.iter().fold(text, |mut text, device| {
            text.extend(line(device));
            text
        });
        let next = match page.next {
            Some(cursor) => Next::Page(PageRequest {
                limit: PAGE_MAX,
                after: Some(cursor),
            }),
            None => Next::Nothing,
        };
        Ok(Some((Bytes::from(text), (reader, next))))
    });
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"devices.csv\""),
    ];
    Ok((headers, Body::from_stream(pages)).into_response())
}

/// What is to be written next.
enum Next {
    Header(Page<Device>),
    Page(PageRequest),
    Nothing,
}

struct Reader {
    state: AppState,
    scope: Scope,
}

impl Reader {
    async fn page(&self, page: PageRequest) -> Result<Page<Device>, ApiError> {
        let filter = DeviceFilter::default();
        let store = self.state.store();
        Ok(store.list_devices(self.scope, &filter, page).await?)
    }
}

fn line(device: &Device) -> Vec<u8> {
    let fields = &device.fields;
    let text = |value: Option<String>| value.unwrap_or_default();
    let tags = if fields.tags.is_empty() {
        String::new()
    } else {
        serde_json::to_string(&fields.tags).expect("a map of texts is JSON")
    };
    let cells = [
        fields.name.clone(),
        text(fields.dev_eui.map(|it| it.to_string())),
        fields.device_type.clone(),
        fields.description.clone(),
        tags,
        text(fields.chirpstack_app_id.map(|it| it.to_string())),
        text(fields.device_profile_id.map(|it| it.to_string())),
        text(fields.join_eui.map(|it| it.to_string())),
        fields.codec.name().to_owned(),
        text(fields.uplink_interval.map(|it| it.as_secs().to_string())),
    ];
    csv::line(cells.iter().map(String::as_str))
}
