//! An independent TURN client (the `turn` crate of webrtc-rs) holds masked calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use vizard_proto::auth::ticket::Credential;
use vizard_proto::contract::Scope;
use webrtc_util::Conn;

use crate::loopback::{Node, PATIENCE, Setup};

/// A party with its relayed connection.
struct Party<C> {
    client: Client,
    relayed: C,
}

async fn client(server: SocketAddr, credential: Credential) -> Client {
    let any = if server.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(any).await.expect("a free port");
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

async fn party(
    server: SocketAddr,
    credential: Credential,
) -> Party<impl Conn + Send + Sync + 'static> {
    let client = client(server, credential).await;
    let relayed = client.allocate().await.expect("an allocation");
    Party { client, relayed }
}

impl<C: Conn> Party<C> {
    fn mask(&self) -> SocketAddr {
        self.relayed.local_addr().expect("an address")
    }

    async fn say(&self, to: SocketAddr, words: &str) {
        self.relayed
            .send_to(words.as_bytes(), to)
            .await
            .expect("sent");
    }

    /// Listens until these words come from there.
    async fn hear(&self, from: SocketAddr, words: &str) {
        let mut buffer = [0; 1500];
        loop {
            let heard = timeout(PATIENCE, self.relayed.recv_from(&mut buffer)).await;
            let (len, speaker) = heard.expect("in time").expect("received");
            assert_eq!(speaker, from);
            if &buffer[..len] == words.as_bytes() {
                return;
            }
        }
    }
}

/// Both say something, again and again: the client sends indications first and binds a channel
/// meanwhile.
async fn converse<A: Conn, B: Conn>(alice: &Party<A>, bob: &Party<B>) {
    let (a, b) = (alice.mask(), bob.mask());
    // What bob says first may go unheard: he has alice's permission only when she has spoken.
    bob.say(a, "I am bob").await;
    alice.say(b, "I am alice").await;
    bob.hear(a, "I am alice").await;
    for round in 0..50 {
        bob.say(a, &format!("round {round}")).await;
        alice.hear(b, &format!("round {round}")).await;
        alice.say(b, &format!("yes, {round}")).await;
        bob.hear(a, &format!("yes, {round}")).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_call_over_ipv4() {
    let node = Node::start(&Setup {
        workers: 3,
        ..Setup::default()
    });
    let call = node.call();
    let alice = party(node.udp(0), call.credential(0)).await;
    let bob = party(node.udp(0), call.credential(1)).await;
    for mask in [alice.mask(), bob.mask()] {
        assert!(mask.to_string().starts_with("198.1"), "a mask address");
    }
    converse(&alice, &bob).await;
    alice
        .relayed
        .close()
        .await
        .expect("it deletes its allocation");
    bob.relayed
        .close()
        .await
        .expect("it deletes its allocation");
    crate::loopback::wait_until("both are gone", || node.handle.load().allocations == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_call_from_ipv4_to_ipv6() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let alice = party(node.udp(0), call.credential(0)).await;
    let bob = party(node.udp(1), call.credential(1)).await;
    converse(&alice, &bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_ticket_does_not_come_back() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let alice = party(node.udp(0), call.credential(0)).await;
    let bob = party(node.udp(0), call.credential(1)).await;
    converse(&alice, &bob).await;
    call.revoke(Scope::Call);
    assert_eq!(node.handle.load().allocations, 0);
    let again = client(node.udp(0), call.credential(0)).await;
    assert!(again.allocate().await.is_err());
    alice.client.close().await.expect("it closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_outside_the_call_is_reached() {
    let node = Node::start(&Setup::default());
    let (call, other) = (node.call(), node.call());
    let alice = party(node.udp(0), call.credential(0)).await;
    let mallory = party(node.udp(0), other.credential(0)).await;
    for target in ["127.0.0.1:80", "169.254.169.254:80"] {
        let target: SocketAddr = target.parse().expect("an address");
        let refused = mallory.relayed.send_to(b"hello", target).await;
        assert!(refused.is_err(), "403");
    }
    let sent = mallory.relayed.send_to(b"hello", alice.mask()).await;
    assert!(sent.is_ok(), "whoever holds it");
    assert_eq!(node.forwarded("relay") + node.forwarded("table"), 0);
}
