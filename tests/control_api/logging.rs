//! What the log says of a call: its id and its route, and nothing of anybody.

use std::io;
use std::sync::{Arc, Mutex};

use reqwest::Method;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::harness::{Answer, Node, path, relay_server};

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_call_is_logged_without_its_parties() {
    let log = Log::default();
    let level = tracing::Level::TRACE;
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false);
    tracing::subscriber::set_global_default(subscriber.with_writer(log.clone()).finish()).unwrap();

    let node = Node::start().await;
    let body = json!({"caller": "canary-alice", "parties": [
        {"id": "canary-alice", "reveal_address_to": "everybody"},
        {"id": "canary-bob", "reveal_address_to": "everybody", "devices": ["canary-phone"]}]});
    let call = node
        .post_once("/v1/calls", "canary-key", &body)
        .await
        .expect(201);
    let answer = json!({"party": "canary-bob", "device": "canary-phone"});
    let answered = node
        .post(&format!("{}/answer", path(&call)), &answer)
        .await
        .expect(200);
    node.post(
        &format!("{}/answer", path(&call)),
        &json!({"party": "canary-eve"}),
    )
    .await
    .faults();
    let request = node
        .request(Method::GET, "/v1/calls")
        .bearer_auth("canary-0123456789");
    Answer::of(request).await.problem(401, "unauthorized");
    node.disk.fill(true);
    node.post("/v1/calls", &body)
        .await
        .problem(503, "store-unavailable");
    node.disk.fill(false);
    node.delete(&path(&call)).await.expect(200);

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let alice = relay_server(&call["parties"]["canary-alice"]["rtc_configuration"]);
    let again = relay_server(&answered["parties"]["canary-alice"]["rtc_configuration"]);
    let word = |server: &serde_json::Value, name: &str| server[name].as_str().unwrap().to_owned();
    for secret in [
        "canary".to_owned(),
        word(alice, "username"),
        word(alice, "credential"),
        word(again, "username"),
        word(again, "credential"),
        super::harness::KEY.to_owned(),
    ] {
        assert!(!text.contains(&secret), "{secret} in the log");
    }
    let id = call["id"].as_str().unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.contains(id)).collect();
    let said: Vec<_> = lines
        .iter()
        .map(|line| line.split("INFO").nth(1).unwrap_or(line))
        .collect();
    let expected = [
        ("opened", "masked"),
        ("answered", "direct"),
        ("ended", "direct"),
    ];
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, (what, route)) in said.iter().zip(expected) {
        let expected = format!(": call {what} call={id} route=\"{route}\"");
        assert!(said.ends_with(&expected), "{said}");
    }
}
