//! Where the API listens, and its connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use super::bare::Explained;
use super::crowd::{Crowd, Place};
use crate::telemetry::metrics::Counters;

/// Connections at a time; one more takes the place of the one that has been silent longest.
const CONNECTIONS: usize = 1024;
/// How long a client may take to send a request's head, also the first byte of the next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may leave an answer unread.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often that is looked at.
const SWEEP: Duration = Duration::from_secs(5);
/// How long requests may go on after the API was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long accepting rests after an error such as too many open files.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// Where the API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP. Port 0 takes a free one.
    Tcp(SocketAddr),
    /// A unix socket, open to its owner and group.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on control.listen = {address}: {error}{}", hint(.error))]
pub struct ListenError {
    address: Address,
    #[source]
    error: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process listens there: stop it or change the setting"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        io::ErrorKind::PermissionDenied => "; take another port or path, or give the right to it",
        io::ErrorKind::NotFound => "; create its folder first",
        _ => "",
    }
}

/// A socket that is being listened on.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, Unlink),
}

/// Removes a unix socket's file when it goes.
pub(crate) struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        // Whoever listens there next removes a file that stays.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    pub(crate) async fn bind(address: &Address) -> Result<Self, ListenError> {
        let listener = match address {
            Address::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Address::Unix(path) => bind_unix(path),
        };
        listener.map_err(|error| ListenError {
            address: address.clone(),
            error,
        })
    }

    /// Where it is, with the port that was taken.
    pub(crate) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_, Unlink(path)) => Ok(Address::Unix(path.clone())),
        }
    }

    /// Serves `router` until `stop` says true, then lets requests finish. `closed` counts the
    /// connections that had to leave.
    pub(crate) async fn serve(
        self,
        router: Router,
        closed: Counters<1>,
        mut stop: watch::Receiver<bool>,
    ) {
        let crowd = Crowd::new(CONNECTIONS, closed);
        let mut connections = JoinSet::new();
        let mut sweeps = tokio::time::interval(SWEEP);
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = sweeps.tick() => {
                    crowd.sweep(UNREAD_TIMEOUT);
                    continue;
                }
                () = stopped(&mut stop) => break,
            };
            match accepted {
                Ok(stream) => {
                    let connection = converse(stream, router.clone(), stop.clone(), crowd.join());
                    connections.spawn(connection);
                }
                Err(error) => {
                    warn!(%error, "the control API could not accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop(self);
        let rest = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, rest).await.is_err() {
            error!("requests to the control API were cut off");
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(listener, _) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn converse(
    stream: Box<dyn Stream>,
    router: Router,
    mut stop: watch::Receiver<bool>,
    place: Place,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(
            TokioIo::new(Explained::new(place.watch(stream))),
            TowerToHyperService::new(router),
        );
    let mut connection = std::pin::pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = place.left() => return,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        debug!(%error, "a connection to the control API broke");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error is the end of whoever could say so.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(Listener::Unix(listener, Unlink(path.to_owned())))
}

/// Removes a socket that nobody listens on; a file that is no socket stays, and stays in the way.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}
