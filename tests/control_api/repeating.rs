//! Requests that are sent twice.

use reqwest::Method;
use serde_json::{Value, json};
use vizard::control::policy::Policy;
use vizard::control::store::{Embedded, REMEMBERED_AFTER_EXPIRY};
use vizard::control::switchboard::Live;
use vizard_proto::auth::ticket::{TicketKey, TicketKeys};

use super::harness::{Answer, CALLS_KEY, NOW, Node, Told, call_id, path, username};

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
        .bearer_auth(super::harness::KEY);
    let request = request
        .header("Idempotency-Key", "k1")
        .header("Content-Type", "application/json");
    assert_eq!(Answer::of(request.body(text)).await.expect(201), first);
    assert_only_opened(&node, &first);
    assert_eq!(node.listed("").await.len(), 1);
    let second = node.post_once("/v1/calls", "k2", &body()).await.expect(201);
    assert_ne!(second["id"], first["id"]);
}

/// The relay was told of this call and its tickets, and of nothing else.
fn assert_only_opened(node: &Node, call: &Value) {
    let (id, names) = (call_id(call), usernames(call));
    for told in node.relay.told() {
        assert!(
            matches!(&told, Told::Open { call, usernames, .. } if *call == id && *usernames == names),
            "{told:?}"
        );
    }
}

/// The user names of all tickets in an answer. A party with devices has none of its own: what it
/// is given is its first device's.
fn usernames(call: &Value) -> Vec<String> {
    let parties = call["parties"].as_object().unwrap().values();
    let names = parties.flat_map(|party| match party["devices"].as_object() {
        Some(devices) => {
            let of = |device: &'_ Value| device["rtc_configuration"].clone();
            devices.values().map(of).collect()
        }
        None => vec![party["rtc_configuration"].clone()],
    });
    let given = names.filter(|configuration| !configuration.is_null());
    given.map(|it| username(&it).to_owned()).collect()
}

#[tokio::test]
async fn the_second_answer_is_the_call_as_it_is_by_then() {
    let node = Node::start().await;
    let mut body = body();
    body["parties"][1]["devices"] = json!(["phone", "laptop"]);
    let first = node.post_once("/v1/calls", "k", &body).await.expect(201);
    assert_eq!(usernames(&first).len(), 3);
    let answer = json!({"party": "b", "device": "laptop"});
    node.post(&format!("{}/answer", path(&first)), &answer)
        .await
        .expect(200);
    let answered = node.post_once("/v1/calls", "k", &body).await.expect(201);
    assert_eq!(answered["phase"], "answered");
    assert_eq!(answered["parties"]["b"]["answered_on"], "laptop");
    // The phone has lost: its ticket is dead.
    let laptop = &first["parties"]["b"]["devices"]["laptop"]["rtc_configuration"];
    let caller = &first["parties"]["a"]["rtc_configuration"];
    assert_eq!(usernames(&answered), [username(caller), username(laptop)]);
    let ended = node.delete(&path(&first)).await.expect(200);
    let repeated = node.post_once("/v1/calls", "k", &body).await.expect(200);
    assert_eq!(repeated, ended);
    assert_eq!(repeated["phase"], "ended");
    assert_eq!(usernames(&repeated), [""; 0]);
}

#[tokio::test]
async fn the_second_answer_to_an_answer_is_the_call_as_it_is_by_then() {
    let node = Node::start().await;
    let call = node.open(&body()).await;
    let answer = format!("{}/answer", path(&call));
    let party = json!({"party": "b"});
    node.post_once(&answer, "k", &party).await.expect(200);
    let ended = node.delete(&path(&call)).await.expect(200);
    assert_eq!(
        node.post_once(&answer, "k", &party).await.expect(200),
        ended
    );
    node.post_once(&answer, "other", &party)
        .await
        .problem(409, "call-ended");
}

#[tokio::test]
async fn after_a_change_of_keys_the_relay_knows_what_is_handed_out() {
    let node = Node::start().await;
    let first = node.post_once("/v1/calls", "k", &body()).await.expect(201);
    let fresh = TicketKey {
        id: 2,
        secret: [8; 32],
    };
    let live = Live {
        tickets: std::sync::Arc::new(TicketKeys::new(&fresh, &[])),
        ..(*node.switchboard().live()).clone()
    };
    node.switchboard().reload(live);
    node.relay.told();
    let second = node.post_once("/v1/calls", "k", &body()).await.expect(201);
    assert_ne!(usernames(&first), usernames(&second));
    assert!(!node.relay.commands().is_empty());
    assert_only_opened(&node, &second);
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
                .bearer_auth(super::harness::KEY);
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
    let id = call_id(&json!({"id": ids[0]}));
    let told = node.relay.told();
    assert!(
        told.iter()
            .all(|told| matches!(told, Told::Open { call, .. } if *call == id))
    );
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
    let ended = node.post_once("/v1/calls", "k", &body()).await.expect(200);
    assert_eq!(
        (&ended["id"], &ended["phase"]),
        (&first["id"], &json!("ended"))
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
