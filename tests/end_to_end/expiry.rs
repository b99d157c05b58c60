//! Tickets run out. The API's shortest take half a minute, so these are minted with the node's own
//! key, as another node of the same platform would.

use std::time::SystemTime;

use serde_json::json;
use vizard_proto::auth::ticket::{CallId, Credential, Ticket, TicketKey, TicketKeys};

use super::{Server, connect, converse, servers};
use crate::daemon::{Daemon, LOOPBACK, Tickets, wait_until};

/// The key in the state directory.
fn keys(daemon: &Daemon) -> TicketKeys {
    let text = std::fs::read_to_string(daemon.state().join("ticket.keys")).expect("made");
    let line = text.lines().find(|line| !line.starts_with('#'));
    let (id, digits) = line.and_then(|line| line.split_once(' ')).expect("a key");
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hex");
    let key = TicketKey {
        id: id.parse().expect("a number"),
        secret: std::array::from_fn(byte),
    };
    TicketKeys::new(&key, &[])
}

/// A ticket that expires so many seconds from here.
fn ticket(daemon: &Daemon, party: u8, secs: i64) -> Credential {
    let now = SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_secs();
    keys(daemon).mint(&Ticket {
        call: CallId(*b"an expiring call"),
        party,
        device: 0,
        expires_at: now.saturating_add_signed(secs),
        kbps: 0,
        masked: true,
    })
}

#[test]
fn an_expired_ticket_is_refused() {
    let daemon = Daemon::start(LOOPBACK);
    for server in servers(&daemon.open()) {
        for secs in [-1, -3600, i64::MIN] {
            let mut late = server.join(ticket(&daemon, 0, secs));
            assert_eq!(late.try_allocate(), Err(401));
        }
        let mut early = server.join(ticket(&daemon, 0, 60));
        early.allocate();
    }
}

#[test]
fn a_ticket_that_runs_out_ends_its_session() {
    let daemon = Daemon::start(LOOPBACK);
    let udp = servers(&daemon.open())[0];
    runs_out(&daemon, udp);
}

fn runs_out(daemon: &Daemon, server: Server) {
    let mut alice = server.join(ticket(daemon, 0, 4));
    let mut bob = server.join(ticket(daemon, 1, 4));
    let mut carol = server.join(ticket(daemon, 2, 600));
    connect(&mut alice, &mut bob);
    let (a, c) = (alice.mask(), carol.allocate());
    assert_eq!(alice.bind(0x4003, c), Ok(()));
    assert_eq!(carol.bind(0x4003, a), Ok(()));
    converse(&mut alice, &mut bob);
    wait_until("the ticket has run out", || alice.refresh(600) == Err(401));
    let gone = |daemon: &Daemon| daemon.metric("vizard_allocations{") == 1;
    wait_until("the sessions have ended", || gone(daemon));
    for channel in [0x4001, 0x4003] {
        alice.say(channel, b"too late");
    }
    assert_eq!((alice.binding(), alice.binding()), (0, 0));
    assert_eq!(bob.binding(), 0);
    // Carol's ticket is good, but what comes from alice is not.
    carol.binding();
    assert_eq!((bob.unheard(), carol.unheard()), (vec![], vec![]));
    assert_eq!(bob.try_allocate(), Err(401));
}

/// The API's shortest tickets take half a minute.
#[test]
fn a_renewed_call_outlives_its_first_tickets() {
    let daemon = Daemon::start(LOOPBACK);
    let body = json!({"parties": [{"id": "alice"}, {"id": "bob"}], "caller": "alice", "ttl": 30});
    let first = Tickets(daemon.ask("POST", "/v1/calls", &body, 201));
    let server = servers(&first)[0];
    let mut alice = server.join(first.of("alice"));
    let mut bob = server.join(first.of("bob"));
    connect(&mut alice, &mut bob);
    let path = format!("/v1/calls/{}/renew", first.id());
    let renewed = Tickets(daemon.ask("POST", &path, &json!({"ttl": 600}), 200));
    // As clients do well before the lifetime that they were granted is over.
    assert_eq!((alice.refresh(600), bob.refresh(600)), (Ok(()), Ok(())));
    let mut late = server.join(first.of("bob"));
    wait_until("the first tickets have expired", || {
        late.try_allocate().is_err() || late.refresh(0).is_err()
    });
    // What is connected is, by the tickets that it has; what is new takes new ones.
    converse(&mut alice, &mut bob);
    assert_eq!(alice.refresh(600), Ok(()));
    assert_eq!(late.try_allocate(), Err(401));
    server.join(renewed.of("bob")).allocate();
    daemon.end(first.id());
    assert_eq!(alice.refresh(600), Err(401));
    assert_eq!(server.join(renewed.of("alice")).try_allocate(), Err(401));
}
