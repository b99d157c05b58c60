//! Requests as they come over the wire: hosts, heads that can't be read, bodies that nobody wants.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::harness::{KEY, Node, READ_KEY};

/// Sends `request` as it is; everything that comes back until the connection closes.
async fn raw(node: &Node, request: impl Into<Vec<u8>>) -> String {
    let (place, request) = (node.place().to_owned(), request.into());
    let exchange = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(place).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("set");
        stream.write_all(&request).expect("all is read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("no reset");
        answer
    });
    exchange.await.expect("no panic")
}

/// The status and type of the problem that `answer` is, and its head.
fn problem(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains("content-type: application/problem+json"),
        "{answer}"
    );
    assert!(head.contains("cache-control: no-store"), "{answer}");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(body["status"].to_string(), status);
    (
        status.parse().expect("a number"),
        body["type"].as_str().expect("a type").to_owned(),
        head,
    )
}

fn get(path: &str, version: &str, headers: &str) -> String {
    format!("GET {path} HTTP/{version}\r\n{headers}Connection: close\r\n\r\n")
}

#[tokio::test]
async fn a_request_has_one_host() {
    let node = Node::start().await;
    for headers in [
        "",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: \r\n",
        "Host: a b\r\n",
        "Host: user@localhost\r\n",
        "Host: localhost:1:2\r\n",
    ] {
        let answer = raw(&node, get("/livez", "1.1", headers)).await;
        let (status, kind, _) = problem(&answer);
        assert_eq!(
            (status, kind.as_str()),
            (400, "/problems/invalid-host"),
            "{headers}"
        );
    }
    let answer = raw(&node, get("/livez", "1.0", "")).await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[tokio::test]
async fn a_name_that_was_bound_to_loopback_is_not_ours() {
    let node = Node::start().await;
    for host in [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
    ] {
        for path in ["/livez", "/metrics", "/v1/calls", "/none"] {
            let answer = raw(&node, get(path, "1.1", &format!("Host: {host}\r\n"))).await;
            let (status, kind, _) = problem(&answer);
            assert_eq!(
                (status, kind.as_str()),
                (421, "/problems/misdirected-request"),
                "{host} {path}"
            );
        }
    }
    let absolute = get("http://evil.example/livez", "1.1", "Host: localhost\r\n");
    assert_eq!(problem(&raw(&node, absolute).await).0, 421);
    let place = node.place();
    for host in [
        place,
        "localhost",
        "localhost:1",
        "[::1]:8080",
        "Relay.Example",
    ] {
        let answer = raw(&node, get("/livez", "1.1", &format!("Host: {host}\r\n"))).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
}

#[tokio::test]
async fn heads_that_can_not_be_read_are_problems_too() {
    let node = Node::start().await;
    let many = "X: y\r\n".repeat(200);
    let long = "y".repeat(70_000);
    let cases = [
        ("nonsense\r\n\r\n".to_owned(), 400, "bad-request"),
        ("GET / HTTP/9.9\r\n\r\n".into(), 400, "bad-request"),
        (
            "GET / HTTP/1.1\r\nHost localhost\r\n\r\n".into(),
            400,
            "bad-request",
        ),
        (
            "POST /v1/calls HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n".into(),
            400,
            "bad-request",
        ),
        (get("/livez", "1.1", &many), 431, "header-fields-too-large"),
        (
            get(&format!("/{long}"), "1.1", "Host: localhost\r\n"),
            414,
            "uri-too-long",
        ),
    ];
    for (request, status, slug) in cases {
        let (found, kind, head) = problem(&raw(&node, request).await);
        assert_eq!((found, kind), (status, format!("/problems/{slug}")));
        assert!(head.contains("connection: close"), "{head}");
    }
}

#[tokio::test]
async fn every_method_that_a_path_does_not_have_is_a_problem() {
    let node = Node::start().await;
    for method in ["PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
        let request =
            format!("{method} /v1/calls HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let (status, kind, head) = problem(&raw(&node, request).await);
        assert_eq!(
            (status, kind.as_str()),
            (405, "/problems/method-not-allowed")
        );
        assert!(head.contains("allow: "), "{head}");
    }
    for target in ["OPTIONS *", "CONNECT localhost:443"] {
        let request = format!("{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        problem(&raw(&node, request).await);
    }
}

/// A POST of `body`, whose connection stays open.
fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

#[tokio::test]
async fn an_early_answer_leaves_the_connection_usable() {
    let node = Node::start().await;
    let json = "Content-Type: application/json\r\n";
    let body = " ".repeat(2 << 20);
    let cases = [
        ("/v1/calls", String::from(json), 401),
        (
            "/v1/calls",
            format!("{json}Authorization: Bearer {READ_KEY}\r\n"),
            403,
        ),
        ("/none", String::from(json), 404),
        ("/livez", String::from(json), 405),
        (
            "/v1/calls",
            format!("{json}Authorization: Bearer {KEY}\r\n"),
            413,
        ),
        ("/v1/calls", format!("Authorization: Bearer {KEY}\r\n"), 415),
    ];
    for (path, headers, status) in cases {
        let both = post(path, &headers, &body) + &get("/livez", "1.1", "Host: localhost\r\n");
        let answers = raw(&node, both).await;
        assert!(
            answers.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answers}"
        );
        assert!(answers.ends_with("{\"status\":\"ok\"}"), "{answers}");
    }
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_not_asked_in_vain() {
    let node = Node::start().await;
    let request = "POST /v1/calls HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\
                   Expect: 100-continue\r\n\r\n";
    let (status, _, head) = problem(&raw(&node, request).await);
    assert_eq!(status, 401);
    assert!(head.contains("connection: close"), "{head}");
    let endless = "POST /v1/calls HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n";
    let (status, _, head) = problem(&raw(&node, endless).await);
    assert_eq!(status, 401);
    assert!(head.contains("connection: close"), "{head}");
}
