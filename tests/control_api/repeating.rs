//! Requests that are sent twice.

use reqwest::Method;
use serde_json::{Value, json};
use vizard::control::policy::Policy;
use vizard::control::store::{Embedded, REMEMBERED_AFTER_EXPIRY};

use crate::harness::{Answer, CALLS_KEY, NOW, Node, path};

fn body() -> Value {
    json!({"parties": [{"id": "a"}, {"id": "b"}], "caller": "a", "ttl": 60})
}

#[tokio::test]
async fn the_same_request_opens_one_call() {
    let node = Node::start().await;
    let first = node.post_once("/v1/calls", "k1", &body()).await.expect(201);
    node.relay.told();
    node.pass(5);
    assert_eq!(
        node.post_once("/v1/calls", "k1", &body()).await.expect(201),
        first
    );
    // Neither white space nor the order of fields makes it another.
    let text = r#"{ "ttl":60, "caller":"a", "parties":[ {"id":"a"},{"id":"b"} ] }"#;
    let request = node
        .request(Method::POST, "/v1/calls")
        .bearer_auth(crate::harness::KEY);
    let request = request
        .header("Idempotency-Key", "k1")
        .header("Content-Type", "application/json");
    assert_eq!(Answer::of(request.body(text)).await.expect(201), first);
    assert_eq!(node.relay.told(), []);
    assert_eq!(node.listed("").await.len(), 1);
    let second = node.post_once("/v1/calls", "k2", &body()).await.expect(201);
    assert_ne!(second["id"], first["id"]);
}

#[tokio::test]
async fn it_is_the_answer_to_the_opening_whatever_happened_since() {
    let node = Node::start().await;
    let first = node.post_once("/v1/calls", "k", &body()).await.expect(201);
    node.post(&format!("{}/answer", path(&first)), &json!({"party": "b"}))
        .await
        .expect(200);
    assert_eq!(
        node.post_once("/v1/calls", "k", &body()).await.expect(201),
        first
    );
    node.delete(&path(&first)).await.expect(200);
    assert_eq!(
        node.post_once("/v1/calls", "k", &body()).await.expect(201),
        first
    );
    assert_eq!(node.get(&path(&first)).await.expect(200)["phase"], "ended");
}

#[tokio::test]
async fn a_key_is_good_for_one_body() {
    let node = Node::start().await;
    node.post_once("/v1/calls", "k", &body()).await.expect(201);
    let mut other = body();
    other["ttl"] = json!(61);
    let problem = node.post_once("/v1/calls", "k", &other).await;
    problem.problem(422, "idempotency-key-reused");
    assert_eq!(node.listed("").await.len(), 1);
}

#[tokio::test]
async fn keys_of_different_holders_and_paths_are_different() {
    let node = Node::start().await;
    let first = node.post_once("/v1/calls", "k", &body()).await.expect(201);
    let other = node
        .request(Method::POST, "/v1/calls")
        .bearer_auth(CALLS_KEY);
    let other = Answer::of(other.header("Idempotency-Key", "k").json(&body()))
        .await
        .expect(201);
    assert_ne!(first["id"], other["id"]);
    let answer = format!("{}/answer", path(&first));
    let answered = node
        .post_once(&answer, "k", &json!({"party": "b"}))
        .await
        .expect(200);
    assert_eq!(
        node.post_once(&answer, "k", &json!({"party": "b"}))
            .await
            .expect(200),
        answered
    );
    let problem = node
        .post_once(&answer, "k", &json!({"party": "b", "device": "x"}))
        .await;
    problem.problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn many_at_once_open_one_call() {
    let node = Node::start().await;
    let body = body();
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let request = node
                .request(Method::POST, "/v1/calls")
                .bearer_auth(crate::harness::KEY);
            tokio::spawn(Answer::of(
                request.header("Idempotency-Key", "k").json(&body),
            ))
        })
        .collect();
    let mut ids = Vec::new();
    for request in requests {
        ids.push(request.await.unwrap().expect(201)["id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(node.listed("").await.len(), 1);
    assert_eq!(node.relay.told().len(), 1);
}

#[tokio::test]
async fn only_what_was_done_is_remembered() {
    let node = Node::start().await;
    node.relay.fill(true);
    node.post_once("/v1/calls", "k", &body())
        .await
        .problem(503, "cannot-mask");
    node.relay.fill(false);
    node.disk.fill(true);
    node.post_once("/v1/calls", "k", &body())
        .await
        .problem(503, "store-unavailable");
    node.disk.fill(false);
    let mut refused = body();
    refused["parties"][1]["callable_by"] = json!([]);
    node.post_once("/v1/calls", "k", &refused)
        .await
        .problem(403, "call-refused");
    node.post_once("/v1/calls", "k", &body()).await.expect(201);
}

#[tokio::test]
async fn a_forgotten_call_is_not_opened_again() {
    let node = Node::start().await;
    let first = node.post_once("/v1/calls", "k", &body()).await.expect(201);
    node.pass(60);
    assert_eq!(
        node.post_once("/v1/calls", "k", &body()).await.expect(201),
        first
    );
    node.pass(10);
    node.pass(REMEMBERED_AFTER_EXPIRY);
    node.get(&path(&first)).await.problem(404, "call-not-found");
    node.post_once("/v1/calls", "k", &body())
        .await
        .problem(410, "call-forgotten");
    node.pass(86_400);
    assert_ne!(
        node.post_once("/v1/calls", "k", &body()).await.expect(201)["id"],
        first["id"]
    );
}

#[tokio::test]
async fn a_restart_forgets_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let store = || Embedded::open(&folder.path().join("store")).unwrap();
    let node = Node::on(store(), NOW, Policy::default()).await;
    let first = node.post_once("/v1/calls", "k", &body()).await.expect(201);
    node.stop().await;
    let node = Node::on(store(), NOW + 1, Policy::default()).await;
    assert_eq!(
        node.post_once("/v1/calls", "k", &body()).await.expect(201),
        first
    );
}

#[tokio::test]
async fn a_key_is_short_visible_text() {
    let node = Node::start().await;
    let long = "x".repeat(256);
    for key in ["", "schlüssel", "a\tb", &long] {
        let problem = node.post_once("/v1/calls", key, &body()).await;
        problem.problem(400, "invalid-idempotency-key");
    }
    node.post_once("/v1/calls", &long[..255], &body())
        .await
        .expect(201);
}
