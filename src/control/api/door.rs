//! What holds for every request, whatever its path: it names a host that is this node, and its body
//! is read to the end or the connection closes.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, SizeHint};

use super::Api;
use crate::control::problem::{Kind, Problem};

/// How much of a body that nobody wants is read, so that clients that write first and read then get
/// to read the answer.
const DISCARD_LIMIT: u64 = 4 << 20;
/// How long that may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);

/// Refuses a request that is meant for another host.
///
/// A page in a browser on this machine can send requests to a loopback address under a name of its
/// own (DNS rebinding). Its `Host` gives it away. Addresses can't be rebound, and are all let in.
pub(super) async fn check_host(State(api): State<Api>, request: Request, next: Next) -> Response {
    let host = match host(request.uri(), request.headers(), request.version()) {
        Ok(host) => host,
        Err(problem) => return problem.into_response(),
    };
    let names = &api.switchboard.live().host_names;
    if host.is_some_and(|host| api.on_loopback && !is_ours(host.host(), names)) {
        let detail = "The Host header names another machine. Use an address or localhost, or add the \
                      name to control.host_names.";
        return Problem::new(Kind::Misdirected, detail).into_response();
    }
    next.run(request).await
}

/// The host that a request is addressed to. HTTP/1.0 may leave it out.
fn host(uri: &Uri, headers: &HeaderMap, version: Version) -> Result<Option<Authority>, Problem> {
    let wrong = |detail: &str| Err(Problem::new(Kind::InvalidHost, detail));
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => return wrong("There is no Host header."),
        (_, Some(_)) => return wrong("There is more than one Host header."),
        (None, None) => None,
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(host) if !host.as_str().contains('@') => Some(host),
            _ => return wrong("The Host header must be HOST or HOST:PORT."),
        },
    };
    // A target in absolute form wins over the header (RFC 9112, section 3.2.2).
    Ok(uri.authority().cloned().or(host))
}

fn is_ours(host: &str, names: &[String]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    address.parse::<std::net::IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

/// Reads what an answer left unread of the request's body, or announces that the connection closes.
/// Otherwise the rest would reset the connection, and the client never see the answer.
pub(super) async fn read_out(request: Request, next: Next) -> Response {
    let waits = request.headers().contains_key(header::EXPECT);
    let rest = Arc::new(Mutex::new(Body::empty()));
    let request = request.map(|body| {
        Body::new(Lent {
            body,
            rest: Arc::clone(&rest),
        })
    });
    let mut response = next.run(request).await;
    let rest = mem::take(&mut *rest.lock().unwrap_or_else(PoisonError::into_inner));
    if rest.is_end_stream() || response.headers().contains_key(header::CONNECTION) {
        return response;
    }
    // Whoever waits for 100 Continue has sent nothing, and need not.
    if waits || !discarded(rest).await {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Whether the body came to its end.
async fn discarded(mut body: Body) -> bool {
    if body.size_hint().lower() > DISCARD_LIMIT {
        return false;
    }
    let reading = async {
        let mut seen = 0;
        while seen <= DISCARD_LIMIT {
            match body.frame().await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(frame)) => seen += frame.data_ref().map_or(0, |data| data.len() as u64),
            }
        }
        false
    };
    tokio::time::timeout(DISCARD_TIMEOUT, reading)
        .await
        .unwrap_or(false)
}

/// A body that is given back when its reader is done.
struct Lent {
    body: Body,
    rest: Arc<Mutex<Body>>,
}

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let body = mem::take(&mut self.body);
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = body;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_configured_names_are_ours() {
        let names = ["relay.example".to_owned()];
        for ours in [
            "127.0.0.1",
            "[::1]",
            "192.0.2.7",
            "LocalHost",
            "localhost.",
            "Relay.Example",
        ] {
            assert!(is_ours(ours, &names), "{ours}");
        }
        for theirs in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "",
            "[::1",
        ] {
            assert!(!is_ours(theirs, &names), "{theirs}");
        }
    }
}
