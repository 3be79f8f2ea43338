//! `GET /api/v1/tenants/{tenant_id}/devices`: a tenant's devices.

use axum::Json;
use axum::extract::{Path, State};
use downbeat_core::codec::CodecKind;
use downbeat_core::device::Presence;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::auth::Viewer;
use crate::http::extract::{Fields, QueryFields};
use crate::http::problem::{ApiError, Problem};
use crate::http::{AppState, tenants};
use crate::store::{DeviceFilter, PAGE_MAX, PageRequest, Scope};

use super::DeviceBody;
use super::bodies::MadeBody;
use super::fields::is_plain;

/// Rows of a page if the caller does not say.
const LIMIT_DEFAULT: u32 = 100;

/// The longest text to look for.
const TEXT_MAX: usize = 100;

/// Which devices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ListQuery {
    /// Those whose name contains this; ASCII letters match in either case.
    #[param(max_length = 100)]
    name: Option<String>,
    /// The one with this DevEUI.
    lorawan_dev_eui: Option<String>,
    /// `online`, `offline` or `never_seen`.
    status: Option<String>,
    /// `true`: those that ChirpStack is in step with; `false`: those that it is not but should be.
    #[param(value_type = Option<bool>)]
    synced: Option<String>,
    /// `true`: those that show what is wanted of them; `false`: those that do not.
    #[param(value_type = Option<bool>)]
    converged: Option<String>,
    /// `floor`: those with that tag; `floor:2`: those whose tag has that value. The tag's name ends at the first colon.
    tag: Option<String>,
    /// Those of that kind, exactly.
    #[param(max_length = 100)]
    device_type: Option<String>,
    /// `kuando_busylight` or `generic`.
    codec: Option<String>,
    /// Those in this application of ChirpStack, a UUID.
    chirpstack_app_id: Option<String>,
    /// 1 to 1000; 100 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of devices.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DevicePage {
    #[schema(value_type = Vec<DeviceBody>)]
    devices: Vec<MadeBody>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// A tenant's devices, oldest first
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenant_id}/devices",
    tag = "devices",
    params(("tenant_id" = String, Path, description = "The tenant's id or name"), ListQuery),
    responses(
        (status = 200, description = "A page", body = DevicePage),
        (status = 400, description = "A filter is wrong", body = Problem),
        (status = 404, description = "No such tenant", body = Problem),
    ),
)]
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    Viewer(caller): Viewer,
    Path(tenant): Path<String>,
    QueryFields(query): QueryFields<ListQuery>,
) -> Result<Json<DevicePage>, ApiError> {
    let (filter, page) = checked(query)?;
    let tenant_id = tenants::id_of_path(&state, &caller, &tenant).await?;
    // The path's tenant, also for who may see all.
    let scope = Scope::Tenant(tenant_id);
    let store = state.store();
    let page = store.list_device_revisions(scope, &filter, page).await?;
    let bodies = state.device_bodies();
    Ok(Json(DevicePage {
        devices: bodies.of_page(store, scope, &page.items).await?,
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}

/// Which devices, as words that are still to be checked.
#[derive(Debug, Default)]
pub(in crate::http) struct FilterWords {
    pub(in crate::http) name: Option<String>,
    pub(in crate::http) lorawan_dev_eui: Option<String>,
    pub(in crate::http) status: Option<String>,
    pub(in crate::http) synced: Option<String>,
    pub(in crate::http) converged: Option<String>,
    pub(in crate::http) tag: Option<String>,
    pub(in crate::http) device_type: Option<String>,
    pub(in crate::http) codec: Option<String>,
    pub(in crate::http) chirpstack_app_id: Option<String>,
}

fn checked(query: ListQuery) -> Result<(DeviceFilter, PageRequest), ApiError> {
    let mut fields = Fields::default();
    let limit = fields.number("limit", query.limit.as_deref(), 1..=PAGE_MAX);
    let page = PageRequest {
        limit: limit.unwrap_or(LIMIT_DEFAULT),
        after: fields.parsed("cursor", query.cursor.as_deref()),
    };
    let words = FilterWords {
        name: query.name,
        lorawan_dev_eui: query.lorawan_dev_eui,
        status: query.status,
        synced: query.synced,
        converged: query.converged,
        tag: query.tag,
        device_type: query.device_type,
        codec: query.codec,
        chirpstack_app_id: query.chirpstack_app_id,
    };
    let filter = checked_filter(&mut fields, words);
    fields.done((filter, page))
}

/// A filter as it may be; what is wrong is noted.
pub(in crate::http) fn checked_filter(fields: &mut Fields, query: FilterWords) -> DeviceFilter {
    let text = |fields: &mut Fields, field: &str, text: Option<&str>| {
        let holds = text.is_none_or(|it| it.chars().count() <= TEXT_MAX && is_plain(it));
        let message = "must have at most 100 characters, none of them a control character";
        fields.check(holds, field, message);
    };
    text(fields, "name", query.name.as_deref());
    text(fields, "device_type", query.device_type.as_deref());
    let presence = query.status.as_deref().map(Presence::by_name);
    fields.check(
        presence != Some(None),
        "status",
        "must be online, offline or never_seen",
    );
    let synced = query.synced.as_deref().map(|it| it.parse().ok());
    fields.check(synced != Some(None), "synced", "must be true or false");
    let converged = query.converged.as_deref().map(|it| it.parse().ok());
    fields.check(
        converged != Some(None),
        "converged",
        "must be true or false",
    );
    let codec = query.codec.as_deref().map(CodecKind::by_name);
    fields.check(
        codec != Some(None),
        "codec",
        "must be kuando_busylight or generic",
    );
    let tag = query.tag.as_deref().map(|it| match it.split_once(':') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (it.to_owned(), None),
    });
    if let Some((name, value)) = &tag {
        text(fields, "tag", Some(name));
        text(fields, "tag", value.as_deref());
        fields.check(!name.is_empty(), "tag", "must name a tag");
    }
    DeviceFilter {
        dev_eui: fields.parsed("lorawan_dev_eui", query.lorawan_dev_eui.as_deref()),
        chirpstack_app_id: fields.parsed("chirpstack_app_id", query.chirpstack_app_id.as_deref()),
        name: query.name,
        device_type: query.device_type,
        codec: codec.flatten(),
        tag,
        presence: presence.flatten(),
        synced: synced.flatten(),
        converged: converged.flatten(),
    }
}
