//! An independent TURN server: the `turn` crate of webrtc-rs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use turn::auth::{AuthHandler, generate_auth_key};
use turn::relay::relay_static::RelayAddressGeneratorStatic;
use turn::server::Server;
use turn::server::config::{ConnConfig, ServerConfig};
use webrtc_util::vnet::net::Net;

const REALM: &str = "elsewhere";

/// It runs as long as this value lives.
pub struct TurnServer {
    address: SocketAddr,
    _server: Server,
    _runtime: Runtime,
}

struct OneUser {
    name: String,
    key: Vec<u8>,
}

impl AuthHandler for OneUser {
    fn auth_handle(
        &self,
        username: &str,
        _realm: &str,
        _source: SocketAddr,
    ) -> Result<Vec<u8>, turn::Error> {
        if username == self.name {
            Ok(self.key.clone())
        } else {
            Err(turn::Error::ErrFakeErr)
        }
    }
}

impl TurnServer {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A server on loopback that knows one user.
pub fn start(name: &str, password: &str) -> TurnServer {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let user = OneUser {
        name: name.to_owned(),
        key: generate_auth_key(name, REALM, password),
    };
    let (server, address) = runtime.block_on(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("bound");
        let relay = RelayAddressGeneratorStatic {
            relay_address: IpAddr::from(Ipv4Addr::LOCALHOST),
            address: "127.0.0.1".into(),
            net: Arc::new(Net::new(None)),
        };
        let config = ServerConfig {
            conn_configs: vec![ConnConfig {
                conn: Arc::new(socket),
                relay_addr_generator: Box::new(relay),
            }],
            realm: REALM.into(),
            auth_handler: Arc::new(user),
            channel_bind_timeout: Duration::ZERO,
            alloc_close_notify: None,
        };
        (Server::new(config).await.expect("a server"), address)
    });
    TurnServer {
        address,
        _server: server,
        _runtime: runtime,
    }
}
