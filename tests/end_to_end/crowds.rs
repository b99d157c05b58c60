//! More connections to the API than it has places for, none of which does anything.

use std::io::Write;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::daemon::{Daemon, LOOPBACK};

/// More than the API's places.
const CROWD: u64 = 1_200;

#[test]
fn connections_that_do_nothing_keep_nobody_out() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to there it may be raised");
    let daemon = Daemon::start(LOOPBACK);
    let tickets = daemon.open();
    let api = daemon.http();
    let list = api.request("GET", "/v1/calls", &[], b"");
    let list = String::from_utf8(list).expect("text");
    let list = list.replace("Connection: close\r\n", "").repeat(20);
    let crowd: Vec<_> = (0..CROWD)
        .map(|number| {
            let mut connection = api.connect();
            // Silent, in the middle of a head, in the middle of a body, and not reading.
            let said: &[u8] = match number % 4 {
                0 => b"",
                1 => b"GET /v1/calls HTTP/1.1\r\nHo",
                2 => b"POST /v1/calls HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
                _ => list.as_bytes(),
            };
            // One of those that came first may have been closed already.
            let _ = connection.write_all(said);
            connection
        })
        .collect();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(api.get(path).status, 200, "{path}");
    }
    daemon.end(tickets.id());
    let shed = daemon.metric("vizard_api_connections_closed_total{reason=\"full\"}");
    assert!(shed >= CROWD - 1_024, "{shed}");
    drop(crowd);
    assert_eq!(daemon.show(tickets.id())["phase"], "ended");
}
