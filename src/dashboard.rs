//! Serves the dashboard that `build.rs` bundled from `web/`: the page at each of its paths and what it loads under
//! `/assets/`.
//!
//! It is one page, which shows what its path names. Paths that it does not know are not found, so that a mistyped one of
//! the API never answers with a page.
//!
//! The page is open to everybody and holds no data: it signs in at the API like any other client. Its content security
//! policy lets it load from here and talk to here, and run no inline script or style, so that a name with markup in
//! it stays a name. Every file but the page itself has a hash of its content in its name and may be cached for ever.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{Embed, EmbeddedFile};

/// The bundle; a stub page alone when it was built without Node.
#[derive(Embed)]
#[folder = "$OUT_DIR/web"]
struct Bundle;

/// Asked again each time: it names the files of the release that runs.
const PAGE_CACHING: &str = "no-cache";

/// A changed file has another name.
const ASSET_CACHING: &str = "public, max-age=31536000, immutable";

const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// The paths that the page knows; a placeholder is an id, and whether there is such a thing the page finds out.
const PAGES: [&str; 11] = [
    "/",
    "/devices",
    "/devices/{device_id}",
    "/gateways",
    "/gateways/{gateway_id}",
    "/jobs",
    "/jobs/{job_id}",
    "/unclaimed",
    "/drift",
    "/audit",
    "/settings",
];

/// The routes of the dashboard: `GET` and `HEAD` of its pages and `/assets/…`. It claims no other path.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    PAGES
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, get(page)))
        .route("/assets/{name}", get(asset))
}

async fn page(headers: HeaderMap) -> Response {
    serve("index.html", &headers, PAGE_CACHING)
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    // Decoded, a name may hold what separates folders; the bundle's folder is flat.
    if name.contains(['/', '\\']) {
        return secured(StatusCode::NOT_FOUND.into_response());
    }
    serve(&format!("assets/{name}"), &headers, ASSET_CACHING)
}

/// The file with its headers; only the headers when the browser has it already.
fn serve(path: &str, request: &HeaderMap, caching: &'static str) -> Response {
    let Some(file) = Bundle::get(path) else {
        return secured(StatusCode::NOT_FOUND.into_response());
    };
    let etag = etag(&file);
    let mut response = if knows(request, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let content_type = content_type(&file);
        (
            [(header::CONTENT_TYPE, content_type)],
            file.data.into_owned(),
        )
            .into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(header::ETAG, etag);
    secured(response)
}

fn secured(mut response: Response) -> Response {
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Weak, because a compressing layer may encode the same content in several ways.
fn etag(file: &EmbeddedFile) -> HeaderValue {
    let hash = hex::encode(&file.metadata.sha256_hash()[..16]);
    HeaderValue::try_from(format!("W/\"{hash}\"")).expect("hexadecimal digits are visible ASCII")
}

/// Whether `If-None-Match` names the tag; several tags and several header lines are allowed (RFC 9110, 13.1.2).
fn knows(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let wanted = etag.to_str().map(opaque).unwrap_or_default();
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == wanted)
}

fn content_type(file: &EmbeddedFile) -> HeaderValue {
    let mime = file.metadata.mimetype();
    let is_text = mime.starts_with("text/") || mime == "application/javascript";
    let full = if is_text {
        format!("{mime}; charset=utf-8")
    } else {
        mime.to_owned()
    };
    HeaderValue::try_from(full).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, Uri};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_page_is_html_and_asked_again_each_time() {
        let response = ask("/", None).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let page = String::from_utf8(body.to_vec()).unwrap();
        assert!(page.contains("<title>Downbeat</title>"));
        assert!(
            !page.contains("style=") && !page.contains("<style"),
            "the policy allows no inline style"
        );
    }

    #[tokio::test]
    async fn each_of_its_paths_is_the_same_page() {
        let tag = |response: &Response| response.headers()[header::ETAG].clone();
        let first = tag(&ask("/", None).await);
        for path in PAGES {
            let path = path.replace(['{', '}'], "");
            let response = ask(&path, None).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(tag(&response), first, "{path}");
        }
    }

    #[tokio::test]
    async fn every_answer_carries_the_policy() {
        for path in ["/", "/assets/absent.js"] {
            let response = ask(path, None).await;
            let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap();
            assert!(policy.starts_with("default-src 'none'"), "{path}");
            assert!(policy.contains("frame-ancestors 'none'"), "{path}");
            assert_eq!(
                response.headers()[header::X_CONTENT_TYPE_OPTIONS],
                "nosniff",
                "{path}"
            );
            assert_eq!(
                response.headers()[header::REFERRER_POLICY],
                "no-referrer",
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn what_the_page_loads_is_served_and_kept_for_ever() {
        for path in Bundle::iter().filter(|path| path.starts_with("assets/")) {
            let response = ask(&format!("/{path}"), None).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(
                response.headers()[header::CACHE_CONTROL],
                ASSET_CACHING,
                "{path}"
            );
            let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap();
            assert!(
                ["text/javascript", "text/css", "image/svg+xml"]
                    .iter()
                    .any(|kind| content_type.starts_with(kind)),
                "{path} is {content_type}"
            );
        }
    }

    #[tokio::test]
    async fn who_has_it_gets_only_the_headers() {
        let etag = ask("/", None).await.headers()[header::ETAG]
            .to_str()
            .unwrap()
            .to_owned();
        for tags in [
            etag.clone(),
            format!("\"other\", {etag}"),
            etag.replace("W/", ""),
            "*".to_owned(),
        ] {
            let response = ask("/", Some(&tags)).await;
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{tags}");
            assert_eq!(response.headers()[header::ETAG], etag.as_str());
        }
        assert_eq!(ask("/", Some("\"other\"")).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn there_is_nothing_else() {
        for path in [
            "/assets/absent.js",
            "/assets/../index.html",
            "/assets/%2e%2e%2findex.html",
            "/index.html",
            "/src",
            "/device",
            "/devices/",
            "/devices/1/downlinks",
            "/settings/keys",
            "/api/v1/device",
        ] {
            assert_eq!(
                ask(path, None).await.status(),
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }

    async fn ask(path: &str, if_none_match: Option<&str>) -> Response {
        let mut request = Request::get(path.parse::<Uri>().unwrap());
        if let Some(tags) = if_none_match {
            request = request.header(header::IF_NONE_MATCH, tags);
        }
        router::<()>()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }
}
