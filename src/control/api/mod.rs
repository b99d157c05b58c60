//! The control API over HTTP: parse, call one function of the switchboard, render.

mod answers;
mod bare;
mod calls;
mod crowd;
mod door;
mod extract;
mod health;
mod listen;
mod name;
mod node;
mod opened;
mod request;
mod shape;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::error;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use vizard_proto::auth::ticket::CallId;

use super::calls::Call;
use super::problem::{Kind, Problem};
use super::switchboard::Switchboard;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::code_label;
use shape::Shapes;

pub use extract::BODY_LIMIT;
pub(super) use listen::Listener;
pub use listen::{Address, ListenError};

/// Requests that read calls, worked on at a time; more are told to come back.
pub const READING: usize = 64;
/// Lists made at a time; more wait. A list is the one request that takes long for the processor,
/// and what ends a call must not compete with many of them.
const LISTING: usize = 2;
/// Requests that open or change calls, worked on at a time; more are told to come back.
pub const CHANGING: usize = 256;
/// Calls whose end is stored at a time; more wait, and their media has stopped meanwhile.
const ENDING: usize = 64;
/// The paths, as metrics name them.
const PATHS: [&str; 11] = [
    "/v1/decisions",
    "/v1/calls",
    "/v1/calls/{id}",
    "/v1/calls/{id}/answer",
    "/v1/calls/{id}/renew",
    "/v1/node",
    "/v1/node/drain",
    "/livez",
    "/readyz",
    "/metrics",
    "/openapi.json",
];

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Api {
    switchboard: Arc<Switchboard>,
    metrics: Arc<Metrics>,
    node: Arc<str>,
    document: Bytes,
    shapes: Arc<Shapes>,
    /// Whether the API listens on a loopback address.
    on_loopback: bool,
    places: Arc<Places>,
}

/// Room for requests that wait for the store, so that no kind of them takes another's.
struct Places {
    reading: Arc<Semaphore>,
    listing: Arc<Semaphore>,
    changing: Arc<Semaphore>,
    ending: Arc<Semaphore>,
}

impl Api {
    /// Has the switchboard look something up.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Switchboard) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.work(place(&self.places.reading)?, work).await
    }

    /// Has the switchboard go through its calls.
    async fn list<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Switchboard) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.places.listing).acquire_owned().await;
        self.work(place.map_err(|_| overloaded())?, work).await
    }

    /// Has the switchboard open or change a call.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Switchboard) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.work(place(&self.places.changing)?, work).await
    }

    /// Has the switchboard end a call: the media before anything that could have to wait.
    async fn end(&self, id: CallId) -> Result<Call, Problem> {
        self.switchboard.stop(id);
        let place = Arc::clone(&self.places.ending).acquire_owned().await;
        let place = place.map_err(|_| overloaded())?;
        self.work(place, move |switchboard| switchboard.end(id))
            .await
    }

    /// Has the switchboard do something, to its end even if the client hangs up.
    async fn work<T: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        work: impl FnOnce(&Switchboard) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let switchboard = Arc::clone(&self.switchboard);
        let working = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&switchboard)
        });
        working.await.unwrap_or_else(|_| {
            error!("a request ended in a panic; this is a bug");
            Err(Problem::new(
                Kind::Internal,
                "This is a bug; the request can be tried again.",
            ))
        })
    }
}

fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let place = Arc::clone(places).try_acquire_owned();
    place.map_err(|_| overloaded())
}

fn overloaded() -> Problem {
    Problem::new(Kind::Overloaded, "Try again in a moment.")
}

/// The API's routes.
pub(super) fn router(
    switchboard: Arc<Switchboard>,
    node: &str,
    listen: &Address,
    metrics: Arc<Metrics>,
) -> Router {
    let (router, document) = described().split_for_parts();
    let api = Api {
        switchboard,
        metrics,
        node: node.into(),
        document: rendered(&document).into(),
        shapes: Arc::new(Shapes::of(&document)),
        on_loopback: matches!(listen, Address::Tcp(address) if address.ip().is_loopback()),
        places: Arc::new(Places {
            reading: Arc::new(Semaphore::new(READING)),
            listing: Arc::new(Semaphore::new(LISTING)),
            changing: Arc::new(Semaphore::new(CHANGING)),
            ending: Arc::new(Semaphore::new(ENDING)),
        }),
    };
    router
        .fallback(|| async { Problem::new(Kind::NotFound, "/openapi.json says what there is.") })
        .method_not_allowed_fallback(|| async { Problem::new(Kind::MethodNotAllowed, "") })
        .layer(middleware::from_fn_with_state(
            api.clone(),
            door::check_host,
        ))
        .layer(middleware::from_fn(door::read_out))
        .layer(middleware::from_fn_with_state(api.clone(), observe))
        .with_state(api)
}

/// The API's description, OpenAPI 3.1 as JSON.
pub fn openapi() -> String {
    rendered(&described().into_openapi())
}

fn rendered(document: &utoipa::openapi::OpenApi) -> String {
    document
        .to_pretty_json()
        .expect("the document is plain data")
        + "\n"
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "vizard control API",
        description = "Decides, opens, answers and ends calls whose parties do not learn each \
            other's addresses. Errors are `application/problem+json` (RFC 9457) with a stable \
            `type`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "http://127.0.0.1:8080", description = "A node with default settings")),
    modifiers(&Bearer),
    security(("key" = [])),
    tags(
        (name = "calls", description = "Calls and decisions"),
        (name = "node", description = "This node"),
    ),
)]
struct Document;

/// API keys in the `Authorization` header.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("key", key);
    }
}

fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(calls::decide))
        .routes(routes!(calls::open, calls::list))
        .routes(routes!(calls::show, calls::end))
        .routes(routes!(calls::answer))
        .routes(routes!(calls::renew))
        .routes(routes!(node::show))
        .routes(routes!(node::drain))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(health::openapi))
}

/// Counts what was answered, and has nobody keep it.
async fn observe(State(api): State<Api>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let path = matched.and_then(|path| PATHS.into_iter().find(|known| *known == path.as_str()));
    let mut response = next.run(request).await;
    let code = code_label(response.status().as_u16());
    api.metrics
        .http_requests
        .of([path.unwrap_or("other"), code])
        .inc();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, kind, body).into_response();
        let extra = match status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, "1")),
            StatusCode::REQUEST_TIMEOUT => Some((header::CONNECTION, "close")),
            _ => None,
        };
        if let Some((name, value)) = extra {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
