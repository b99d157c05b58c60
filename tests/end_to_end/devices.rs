//! Several devices ring; one answers.

use serde_json::json;

use super::{Server, servers};
use crate::daemon::{Daemon, LOOPBACK, Tickets};
use crate::loopback::{Caller, Heard};

struct Ringing {
    tickets: Tickets,
    alice: Caller,
    phone: Caller,
    laptop: Caller,
}

/// A call in which alice hears both of bob's devices and both hear her.
fn ring(daemon: &Daemon, server: Server) -> Ringing {
    let wish = json!({"parties": [{"id": "alice"},
        {"id": "bob", "devices": ["phone", "laptop"]}], "caller": "alice"});
    let tickets = Tickets(daemon.ask("POST", "/v1/calls", &wish, 201));
    let mut alice = server.join(tickets.of("alice"));
    let mut phone = server.join(tickets.of_device("bob", "phone"));
    let mut laptop = server.join(tickets.of_device("bob", "laptop"));
    let a = alice.allocate();
    for (device, channel) in [(&mut phone, 0x4001), (&mut laptop, 0x4002)] {
        let b = device.allocate();
        assert_eq!(alice.bind(channel, b), Ok(()));
        assert_eq!(device.bind(channel, a), Ok(()));
        alice.say(channel, b"ringing");
        assert_eq!(device.hear(), Heard::Channel(channel, b"ringing".to_vec()));
        device.say(channel, b"here");
        assert_eq!(alice.hear(), Heard::Channel(channel, b"here".to_vec()));
    }
    Ringing {
        tickets,
        alice,
        phone,
        laptop,
    }
}

fn answer(daemon: &Daemon, call: &Tickets, device: &str) {
    let path = format!("/v1/calls/{}/answer", call.id());
    let body = json!({"party": "bob", "device": device});
    daemon.ask("POST", &path, &body, 200);
}

#[test]
fn the_others_are_cut_off() {
    let daemon = Daemon::start(LOOPBACK);
    for server in servers(&daemon.open()) {
        let Ringing {
            tickets,
            mut alice,
            mut phone,
            mut laptop,
        } = ring(&daemon, server);
        answer(&daemon, &tickets, "phone");
        // What alice says to the laptop goes nowhere; what she says to the phone behind it arrives,
        // and by the answer to the laptop's own question everything for it would be there.
        alice.say(0x4002, b"to the laptop");
        alice.say(0x4001, b"to the phone");
        let words = b"to the phone".to_vec();
        assert_eq!(phone.hear(), Heard::Channel(0x4001, words));
        if server.by_tcp {
            assert!(laptop.is_closed_by_node());
        } else {
            laptop.say(0x4002, b"from the laptop");
            assert_eq!((laptop.binding(), laptop.binding()), (0, 0));
            assert_eq!(laptop.refresh(600), Err(401));
        }
        assert_eq!(laptop.unheard(), []);
        phone.say(0x4001, b"from the phone");
        let words = b"from the phone".to_vec();
        assert_eq!(alice.hear(), Heard::Channel(0x4001, words));

        let mut again = server.join(tickets.of_device("bob", "laptop"));
        assert_eq!(again.try_allocate(), Err(401));
        assert_eq!(phone.refresh(600), Ok(()));
        let mut third = server.join(tickets.of_device("bob", "phone"));
        third.allocate();
    }
}

#[test]
fn the_lost_race_stays_lost_after_a_restart() {
    let mut daemon = Daemon::start(LOOPBACK);
    let server = servers(&daemon.open())[0];
    let call = ring(&daemon, server).tickets;
    answer(&daemon, &call, "laptop");
    daemon.restart();
    let server = servers(&daemon.open())[0];
    let mut phone = server.join(call.of_device("bob", "phone"));
    assert_eq!(phone.try_allocate(), Err(401));
    let mut laptop = server.join(call.of_device("bob", "laptop"));
    laptop.allocate();
    let path = format!("/v1/calls/{}/answer", call.id());
    let late = json!({"party": "bob", "device": "phone"});
    let problem = daemon.ask("POST", &path, &late, 409);
    assert_eq!(problem["type"], "/problems/answered-elsewhere");
}
