//! Calls as the platform opens them and two parties hold them.

use serde_json::{Value, json};

use super::{Server, converse, hold_call, servers, talk};
use crate::daemon::{Daemon, LOOPBACK, wait_until};
use crate::loopback::Heard;

#[test]
fn the_answer_is_all_that_two_parties_need_on_every_pair_of_ways() {
    let daemon = Daemon::start(LOOPBACK);
    let all = servers(&daemon.open());
    let named: Vec<_> = all.iter().map(|it| (it.by_tcp, it.address)).collect();
    let listening = [false, true].map(|by_tcp| {
        let at = |index| {
            if by_tcp {
                daemon.tcp(index)
            } else {
                daemon.udp(index)
            }
        };
        [(by_tcp, at(0)), (by_tcp, at(1))]
    });
    assert_eq!(named, listening.concat());
    for (first, second) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))) {
        let (tickets, [mut alice, mut bob]) = hold_call(&daemon, [first, second]);
        assert_eq!(tickets.0["route"], "masked");
        for len in [0, 1, 172, 1200] {
            talk(&mut alice, 0x4001, &mut bob, 0x4002, &vec![0xA1; len]);
            talk(&mut bob, 0x4002, &mut alice, 0x4001, &vec![0xB2; len]);
        }
        let (a, b) = (alice.mask(), bob.mask());
        alice.indicate(b, b"by indication");
        let words = b"by indication".to_vec();
        assert_eq!(bob.hear(), Heard::Channel(0x4002, words.clone()));
        bob.indicate(a, b"by indication");
        assert_eq!(alice.hear(), Heard::Channel(0x4001, words));
    }
}

#[test]
fn usage_is_live() {
    let daemon = Daemon::start(LOOPBACK);
    let all = servers(&daemon.open());
    let (tickets, [mut alice, mut bob]) = hold_call(&daemon, [all[0], all[3]]);
    for _ in 0..10 {
        talk(&mut alice, 0x4001, &mut bob, 0x4002, &[1; 100]);
    }
    alice.indicate(bob.mask(), &[2; 11]);
    bob.hear();
    talk(&mut bob, 0x4002, &mut alice, 0x4001, &[3; 7]);
    let usage = |call: &Value, party: &str| call["parties"][party]["usage"].clone();
    wait_until("usage is shown while the call goes on", || {
        let call = daemon.show(tickets.id());
        assert_eq!(call["phase"], "ringing");
        usage(&call, "alice") == json!({"packets": 11, "bytes": 1011})
            && usage(&call, "bob") == json!({"packets": 1, "bytes": 7})
    });
    let call = daemon.show(tickets.id());
    let connected = |party: &str| {
        let moments = call["timeline"].as_array().expect("moments");
        moments
            .iter()
            .any(|it| it["event"] == "party.connected" && it["party"] == party)
    };
    assert!(connected("alice") && connected("bob"), "{call}");
    let exposed = call["exposure"].as_array().expect("pairs");
    assert!(
        exposed.iter().all(|pair| pair["what"] == "nothing"),
        "{call}"
    );
    daemon.end(tickets.id());
    let ended = daemon.show(tickets.id());
    assert_eq!(usage(&ended, "alice")["bytes"], 1011);
}

#[test]
fn without_room_a_call_is_refused_and_never_direct() {
    let daemon = Daemon::start(&format!("{LOOPBACK}calls = 1\n"));
    let first = daemon.open();
    let everybody = |id: &str| json!({"id": id, "reveal_address_to": "everybody"});
    let frank = json!({"parties": [everybody("alice"), everybody("bob")]});
    let plain = json!({"parties": [{"id": "alice"}, {"id": "bob"}]});
    for wish in [&plain, &frank] {
        let response = daemon.http().json("POST", "/v1/calls", wish);
        let problem = response.parsed();
        assert_eq!(response.status, 503);
        assert_eq!(problem["type"], "/problems/cannot-mask");
        let text = response.text();
        for word in ["iceServers", "credential", "direct", "parties"] {
            assert!(!text.contains(word), "{text}");
        }
    }
    assert_eq!(daemon.http().get("/readyz").status, 503);
    let list = daemon.ask("GET", "/v1/calls", &Value::Null, 200);
    assert_eq!(list["calls"].as_array().map(Vec::len), Some(1), "{list}");
    daemon.end(first.id());
    assert_eq!(daemon.http().get("/readyz").status, 200);
    let second = daemon.open();
    assert_eq!(second.0["route"], "masked");
}

#[test]
fn a_call_goes_on_after_a_restart() {
    let mut daemon = Daemon::start(LOOPBACK);
    let all = servers(&daemon.open());
    let (tickets, _) = hold_call(&daemon, [all[0], all[2]]);
    for how in [Daemon::restart, |daemon: &mut Daemon| {
        daemon.kill();
        daemon.launch();
    }] {
        how(&mut daemon);
        let udp = Server {
            address: daemon.udp(0),
            by_tcp: false,
        };
        let mut alice = udp.join(tickets.of("alice"));
        let mut bob = udp.join(tickets.of("bob"));
        super::connect(&mut alice, &mut bob);
        converse(&mut alice, &mut bob);
        assert_eq!(daemon.show(tickets.id())["phase"], "ringing");
    }
}
