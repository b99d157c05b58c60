//! A machine whose addresses change while the node runs.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::daemon::world::{self, shell};
use crate::daemon::{Daemon, wait_until};

/// A node that listens on all addresses.
const EVERYWHERE: &str = "[relay]\nudp = [\"0.0.0.0:0\", \"[::]:0\"]\ntcp = []\n\
    [control]\nlisten = \"127.0.0.1:0\"\n";

#[test]
fn clients_are_given_the_addresses_that_the_machine_has_by_now() {
    world::enter(concat!(module_path!(), "::inside"), &["--mount", "--net"]);
}

#[test]
#[ignore = "runs in the network namespace that the test above makes"]
fn inside() {
    if !world::is_inside() {
        return;
    }
    shell(
        "ip link set lo up
         ip link add card type veth peer name far
         ip link set far up
         ip link set card up
         ip link add docker0 type bridge
         ip link set docker0 up
         ip addr add 172.17.0.1/16 dev docker0",
    );
    let daemon = Daemon::start(EVERYWHERE);
    assert_eq!(hosts(&daemon), set(&["127.0.0.1", "[::1]"]));
    shell("ip addr add 203.0.113.7/24 dev card");
    until(&daemon, &["203.0.113.7"]);
    // Beside a private IPv4 address a global IPv6 one is no reason to leave the first out.
    shell(
        "ip addr del 203.0.113.7/24 dev card
         ip addr add 10.0.0.5/24 dev card
         ip addr add 2001:db8::7/64 dev card nodad
         ip addr add 2001:db8::8/64 dev card nodad preferred_lft 0 valid_lft 9999
         ip addr add 2001:db8::9/64 dev card nodad preferred_lft 60 valid_lft 9999",
    );
    until(&daemon, &["10.0.0.5", "[2001:db8::7]"]);
    // What the API says is what a call gets.
    let urls = &daemon.open().0["parties"]["alice"]["rtc_configuration"]["iceServers"][0]["urls"];
    assert_eq!(of(urls.as_array().expect("a list").iter()), hosts(&daemon));
    shell("ip link set card down; ip link set lo down; ip link set lo up");
    until(&daemon, &["127.0.0.1", "[::1]"]);
    let log = String::from_utf8_lossy(&daemon.said("err")).into_owned();
    assert!(
        log.contains("addresses changed") && log.contains("IPv4: clients"),
        "{log}"
    );
    for address in ["203.0.113.7", "10.0.0.5", "2001:db8"] {
        assert!(!log.contains(address), "{log}");
    }
}

fn until(daemon: &Daemon, wanted: &[&str]) {
    wait_until("the node has followed", || hosts(daemon) == set(wanted));
}

fn set(hosts: &[&str]) -> BTreeSet<String> {
    hosts.iter().map(|host| (*host).to_owned()).collect()
}

/// The hosts of the URLs that clients are given.
fn hosts(daemon: &Daemon) -> BTreeSet<String> {
    let node = daemon.ask("GET", "/v1/node", &Value::Null, 200);
    let urls = node["urls"].as_array().expect("a list");
    of(urls.iter().map(|offer| &offer["url"]))
}

fn of<'u>(urls: impl Iterator<Item = &'u Value>) -> BTreeSet<String> {
    let host = |url: &Value| {
        let rest = url.as_str()?.strip_prefix("turn:")?;
        let (host, _) = rest.rsplit_once(':')?;
        Some(host.to_owned())
    };
    urls.map(|url| host(url).expect("a TURN URL")).collect()
}
