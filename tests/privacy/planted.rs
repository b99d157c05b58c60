//! That the search finds what it looks for: every notation planted in a text and in binary data,
//! and a node that is made to print an address, through the same capture as everything else.

use std::net::{IpAddr, TcpListener};

use super::canaries::ipv4;
use super::evidence::{Evidence, Outlet};
use super::life::Life;
use super::loopback;
use super::notation::Canary;
use super::search::Finder;
use crate::daemon::{Daemon, Setup};

const IPV4: &str = "127.83.47.211";
const IPV6: &str = "fd6b:9c41:77e2::c06f:2d94:e857";

/// The IPv4 canary, written by hand.
const IPV4_NOTATIONS: &[&str] = &[
    "127.83.47.211",
    "127.083.047.211",
    "0x7f.0x53.0x2f.0xd3",
    "0177.0123.057.0323",
    "0x7F.083.057.211",
    "127.5451731",
    "127.83.12243",
    "2136158163",
    "0x7f532fd3",
    "017724627723",
    "7f532fd3",
    "7F:53:2F:D3",
    "7f-53-2f-d3",
    "7f 53 2f d3",
    "[0x7f, 0x53, 0x2f, 0xd3]",
    "[127, 83, 47, 211]",
    "[\n    127,\n    83,\n    47,\n    211\n]",
    "211.47.83.127.in-addr.arpa",
    "ip-127-83-47-211.internal",
    "3543094143",
    "d32f537f",
    "127.83.47.0/24",
    "::ffff:127.83.47.211",
    "::FFFF:7F53:2FD3",
    "64:ff9b::7f53:2fd3",
    "2002:7f53:2fd3::",
    "0000:0000:0000:0000:0000:ffff:7f53:2fd3",
    "1581353873",
    "5e418b91",
    "94.65.139.145",
    "2441822558",
    "\\x7fS/\\xd3",
    "%7F%53%2F%D3",
    "\\u007fS\\u002f\\u00d3",
    "f1Mv0w==",
    "I39TL9MhISE=",
    "IyN_Uy_TISEh",
    "MTI3LjgzLjQ3LjIxMQ==",
    "3132372e38332e34372e323131",
];

/// The IPv6 canary, written by hand.
const IPV6_NOTATIONS: &[&str] = &[
    "fd6b:9c41:77e2::c06f:2d94:e857",
    "FD6B:9C41:77E2::C06F:2D94:E857",
    "fd6b:9c41:77e2:0:0:c06f:2d94:e857",
    "fd6b:9c41:77e2:0000:0000:c06f:2d94:e857",
    "[fd6b:9c41:77e2:0::c06f:2d94:e857]:3478",
    "fd6b:9c41:77e2::c06f:45.148.232.87",
    "fd6b:9c41:77e2::/64",
    "fd6b:9c41:77e2:0:1:2:3:4",
    "fd6b9c4177e200000000c06f2d94e857",
    "fd6b9c4177e20000",
    "0000c06f2d94e857",
    "336853427940277608892657209665182296151",
    "7.5.8.e.4.9.d.2.f.6.0.c.0.0.0.0.0.0.0.0.2.e.7.7.1.4.c.9.b.6.d.f.ip6.arpa",
    "[253, 107, 156, 65, 119, 226, 0, 0, 0, 0, 192, 111, 45, 148, 232, 87]",
    "[64875, 40001, 30690, 0, 0, 49263, 11668, 59479]",
    "57e8942d6fc00000",
    "dc793803d247a5a5",
    "/WucQXfiAAAAAMBvLZToVw==",
];

/// Like the canaries, and not one of them.
const CLEAN: &str = "127.0.0.1 127.83.4.211 128.83.47.211 127.83.471.1 [::1]:3478 fd6b:9c41::1 \
    2026-11-22T04:56:17.860402Z 01a2019c-b676-7400-9e23-b4538c6d6dde [127, 83, 47] of 211 \
    211.47.83.128 7f532fd4 0x7f532fd2 2136158162 198.18.7.9:40000 f1Mv0A== %7F%53%2F%D4";

fn finder(address: &str) -> Finder {
    let ip = address.parse().expect("an address");
    Finder::new(&[Canary::address("planted", ip)])
}

/// A text with `word` in it, as a log or an answer may have it.
fn planted(word: &str) -> [String; 3] {
    [
        format!("2026-11-22T04:56:17Z INFO vizard: from={word} call opened"),
        format!("{{\"peer\":\"{word}\",\"port\":40000}}"),
        format!("{CLEAN}\n{word}\n{CLEAN}"),
    ]
}

#[test]
fn every_notation_is_found() {
    for (address, notations) in [(IPV4, IPV4_NOTATIONS), (IPV6, IPV6_NOTATIONS)] {
        let finder = finder(address);
        for word in notations {
            for text in planted(word) {
                assert!(!finder.search(text.as_bytes()).is_empty(), "{text}");
            }
        }
    }
}

#[test]
fn what_is_no_canary_is_not_found() {
    for address in [IPV4, IPV6] {
        assert_eq!(finder(address).search(CLEAN.as_bytes()), []);
    }
    let binary: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    assert_eq!(finder(IPV4).search(&binary), []);
}

#[test]
fn raw_bytes_are_found_anywhere_and_said_to_be_weak() {
    let forms = [
        [0x7f, 0x53, 0x2f, 0xd3],
        [0xd3, 0x2f, 0x53, 0x7f],
        [0x5e, 0x41, 0x8b, 0x91],
        [0x91, 0x8b, 0x41, 0x5e],
    ];
    for (form, offset) in forms.iter().zip([0, 1, 777, 996]) {
        let mut file = vec![0xAA; 1000];
        file[offset..offset + 4].copy_from_slice(form);
        let hits = finder(IPV4).search(&file);
        assert_eq!(hits.len(), 1, "{form:x?}");
        assert!(hits[0].by_chance && hits[0].at == offset);
    }
    let hits = finder(IPV4).search(IPV4.as_bytes());
    assert!(hits.iter().any(|hit| !hit.by_chance), "as text it counts");
}

#[test]
fn raw_halves_of_ipv6_are_found() {
    let IpAddr::V6(ip) = IPV6.parse().expect("an address") else {
        panic!("an IPv6 address");
    };
    let octets = ip.octets();
    let mut reversed = octets;
    reversed.reverse();
    for form in [&octets[..], &octets[..8], &octets[8..], &reversed[..]] {
        let file = [b"page\x00\x01", form, b"\xff\xff"].concat();
        let hits = finder(IPV6).search(&file);
        assert!(hits.iter().any(|hit| !hit.by_chance), "{form:x?}");
    }
}

#[test]
fn names_are_found() {
    let finder = Finder::new(&[Canary::text("name", "Alice-9f3b")]);
    for text in [
        "by alice-9f3b.",
        "QWxpY2UtOWYzYg==",
        "%41lice-9f3b",
        "416c6963652d39663362",
    ] {
        assert!(!finder.search(text.as_bytes()).is_empty(), "{text}");
    }
    assert_eq!(finder.search(b"alice-9f3a"), []);
}

/// A node is told to listen at a canary, which it prints where it prints its listeners, and to
/// call a party by one, which it keeps: every outlet is seen to be watched.
#[test]
fn a_node_that_prints_an_address_is_caught() {
    let secret = ipv4(127);
    let mut place = loopback();
    place.servers = vec![secret];
    let findings = Life::run(&place, "json", "info");
    assert!(findings.is_empty(), "the listener itself is no canary");

    let canaries = [Canary::address("listener", secret)];
    let mut evidence = Evidence::default();
    tell(secret, &mut evidence);
    for outlet in [
        Outlet::Stdout,
        Outlet::Log,
        Outlet::Answer,
        Outlet::CommandLine,
        Outlet::State,
    ] {
        let caught = evidence.findings(&canaries);
        let here = caught
            .iter()
            .any(|it| it.outlet == outlet && !it.hit.by_chance);
        assert!(here, "{outlet:?}: {caught:#?}");
    }
}

fn tell(secret: IpAddr, evidence: &mut Evidence) {
    let listener = TcpListener::bind((secret, 0)).expect("a free port");
    let taken = listener.local_addr().expect("bound");
    let config =
        format!("[relay]\nudp = [\"{secret}:0\"]\ntcp = []\n[control]\nlisten = \"{taken}\"\n");
    let mut daemon = Daemon::prepare(Setup::new(&config));
    daemon.launch_in_vain();
    drop(listener);
    daemon.launch();
    let wish = serde_json::json!({"parties": [{"id": secret.to_string()}, {"id": "bob"}]});
    let answer = daemon.http().json("POST", "/v1/calls", &wish);
    evidence.add(Outlet::Answer, "POST /v1/calls", answer.raw);
    let id = answer_id(&answer.body);
    let shown = daemon.run(&["call", "show", &id]);
    evidence.add(Outlet::CommandLine, "call show", shown.stdout);
    daemon.stop();
    evidence.add_state(&daemon.state());
    evidence.add(Outlet::Stdout, "stdout", daemon.said("out"));
    evidence.add(Outlet::Log, "stderr", daemon.said("err"));
}

fn answer_id(body: &[u8]) -> String {
    let call: serde_json::Value = serde_json::from_slice(body).expect("JSON");
    call["id"].as_str().expect("an id").to_owned()
}
