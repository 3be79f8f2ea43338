//! What the machine allows: a server that reads a webhook and answers it, and does nothing else, or one thing only.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::{Router, routing::post};
use tokio::net::TcpListener;

use crate::store::BareStore;

/// What Downbeat answers to an event that it stored.
const ANSWER: &str = r#"{"status":"ok"}"#;

/// All that it does. With a store, each body is in it before it is answered.
fn router(kept: Option<BareStore>) -> Router {
    let method = match kept {
        Some(store) => post(keep).with_state(store),
        None => post(answer),
    };
    Router::new().route("/{*path}", method)
}

async fn answer(body: Bytes) -> impl IntoResponse {
    // Looked at, so that nobody can leave out reading it.
    std::hint::black_box(&body);
    ([(CONTENT_TYPE, "application/json")], ANSWER)
}

async fn keep(
    State(store): State<BareStore>,
    body: Bytes,
) -> Result<impl IntoResponse, StatusCode> {
    if store.keep(body.to_vec()).await {
        Ok(([(CONTENT_TYPE, "application/json")], ANSWER))
    } else {
        Err(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Serves until a signal. With a file, bodies are kept in it.
pub(super) async fn run(listen: SocketAddr, keep: Option<&Path>) -> anyhow::Result<()> {
    use axum::serve::ListenerExt as _;
    let kept = match keep {
        Some(path) => {
            let opened = BareStore::open(path).await;
            Some(opened.with_context(|| format!("cannot open {}", path.display()))?)
        }
        None => None,
    };
    let listener = TcpListener::bind(listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {listen}"))?;
    crate::cli::print(&format!("Answering on http://{}", listener.local_addr()?))?;
    let listener = listener.tap_io(|stream| {
        // As Downbeat does; without it, it is only slower.
        let _ = stream.set_nodelay(true);
    });
    let stopped = async {
        let _ = crate::server::stop_signal().await;
    };
    axum::serve(listener, router(kept))
        .with_graceful_shutdown(stopped)
        .await?;
    Ok(())
}
