//! Calls that go on for longer than their first tickets.

use serde_json::{Value, json};
use vizard::control::policy::Policy;

use super::harness::{NOW, Node, Told, call_id, path, username};

fn body() -> Value {
    json!({"parties": [{"id": "a"}, {"id": "b"}], "caller": "a", "ttl": 60})
}

fn renewal(call: &Value) -> String {
    format!("{}/renew", path(call))
}

fn name_of_a(call: &Value) -> &str {
    username(&call["parties"]["a"]["rtc_configuration"])
}

fn ttl(secs: u32) -> Value {
    json!({ "ttl": secs })
}

#[tokio::test]
async fn a_renewed_call_has_a_later_end_and_fresh_tickets() {
    let node = Node::start().await;
    let call = node.open(&body()).await;
    node.pass(50);
    node.relay.told();
    let renewed = node.post(&renewal(&call), &ttl(600)).await.expect(200);
    assert_eq!(renewed["id"], call["id"]);
    assert_eq!(renewed["phase"], "ringing");
    assert_ne!(name_of_a(&renewed), name_of_a(&call));
    let ticket = node.ticket(&renewed["parties"]["a"]["rtc_configuration"]);
    assert_eq!(ticket.expires_at, NOW + 650);
    // The relay is told of the end and the tickets, and of nothing else.
    let told = node.relay.told();
    let is_open = |told: &Told| matches!(told, Told::Open { call: id, until, .. } if *id == call_id(&call) && *until == NOW + 650);
    assert!(told.len() == 1 && is_open(&told[0]), "{told:?}");
    node.pass(599);
    let shown = node.get(&path(&call)).await.expect(200);
    assert_eq!(shown["phase"], "ringing");
    node.pass(1);
    let shown = node.get(&path(&call)).await.expect(200);
    assert_eq!(shown["phase"], "ended");
    let late = node.post(&renewal(&call), &ttl(600)).await;
    late.problem(409, "call-ended");
}

#[tokio::test]
async fn nothing_is_taken_from_a_call_and_it_has_a_longest_life() {
    let policy = Policy {
        max_call: 300,
        ..Policy::default()
    };
    let node = Node::with(policy).await;
    let call = node.open(&body()).await;
    let expiry = async |secs| {
        let renewed = node.post(&renewal(&call), &ttl(secs)).await.expect(200);
        let ticket = node.ticket(&renewed["parties"]["b"]["rtc_configuration"]);
        ticket.expires_at - NOW
    };
    assert_eq!(expiry(30).await, 60);
    assert_eq!(expiry(200).await, 200);
    node.pass(190);
    assert_eq!(expiry(200).await, 300);
    let longer = node.post(&renewal(&call), &ttl(301)).await;
    longer.problem(422, "invalid-request");
}

#[tokio::test]
async fn the_same_request_renews_once() {
    let node = Node::start().await;
    let call = node.open(&body()).await;
    let first = node.post_once(&renewal(&call), "k", &ttl(600)).await;
    let first = first.expect(200);
    node.pass(10);
    let again = node.post_once(&renewal(&call), "k", &ttl(600)).await;
    assert_eq!(name_of_a(&again.expect(200)), name_of_a(&first));
    let other = node.post_once(&renewal(&call), "k", &ttl(700)).await;
    other.problem(422, "idempotency-key-reused");
    node.delete(&path(&call)).await.expect(200);
    let after = node.post_once(&renewal(&call), "k", &ttl(600)).await;
    let after = after.expect(200);
    assert_eq!(after["phase"], "ended");
    assert!(after["parties"]["a"]["rtc_configuration"].is_null());
}
