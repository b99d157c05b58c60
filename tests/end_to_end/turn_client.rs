//! The TURN client of webrtc-rs with the credentials that the API returned.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use vizard_proto::auth::ticket::Credential;
use webrtc_util::Conn;

use super::servers;
use crate::daemon::{Daemon, LOOPBACK, PATIENCE};

async fn client(server: SocketAddr, credential: Credential) -> Client {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let config = ClientConfig {
        stun_serv_addr: server.to_string(),
        turn_serv_addr: server.to_string(),
        username: credential.username,
        password: credential.password,
        realm: String::new(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(socket),
        vnet: None,
    };
    let client = Client::new(config).await.expect("a client");
    client.listen().await.expect("it listens");
    client
}

/// Says the words until the other hears them: the first open the way for the answer.
async fn say(from: &impl Conn, to: SocketAddr, words: &str, by: &impl Conn) {
    let sender = from.local_addr().expect("an address");
    let mut buffer = [0; 1500];
    loop {
        from.send_to(words.as_bytes(), to).await.expect("sent");
        let wait = std::time::Duration::from_millis(200);
        let Ok(heard) = timeout(wait, by.recv_from(&mut buffer)).await else {
            continue;
        };
        let (len, speaker) = heard.expect("received");
        assert_eq!(speaker, sender);
        if &buffer[..len] == words.as_bytes() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_a_call_until_the_platform_ends_it() {
    let daemon = Daemon::start(LOOPBACK);
    let tickets = daemon.open();
    let server = servers(&tickets)[0].address;
    let (alice, bob) = (
        client(server, tickets.of("alice")).await,
        client(server, tickets.of("bob")).await,
    );
    let a = alice.allocate().await.expect("an allocation");
    let b = bob.allocate().await.expect("an allocation");
    let (at_a, at_b) = (a.local_addr().expect("mask"), b.local_addr().expect("mask"));
    b.send_to(b"open", at_a).await.expect("sent");
    let call = async {
        for round in 0..20 {
            say(&a, at_b, &format!("alice {round}"), &b).await;
            say(&b, at_a, &format!("bob {round}"), &a).await;
        }
    };
    timeout(PATIENCE, call).await.expect("they hear each other");
    daemon.end(tickets.id());
    for party in ["alice", "bob"] {
        let again = client(server, tickets.of(party)).await;
        assert!(again.allocate().await.is_err(), "the ticket is dead");
    }
}
