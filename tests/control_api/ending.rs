//! Ending goes before everything else, whatever the store and all others do.

use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use vizard::control::api::{CHANGING, READING};
use vizard_proto::auth::ticket::CallId;
use vizard_proto::contract::Scope;

use super::harness::{Answer, KEY, Node, Told, call_id, path};

fn body() -> Value {
    json!({"caller": "a", "parties": [{"id": "a"}, {"id": "b"}]})
}

/// Runs `inside` while no access to the store that passes one of the gates gets to its end.
fn while_held<F: Future>(gates: &[&Mutex<()>], inside: impl FnOnce() -> F) -> F::Output {
    tokio::task::block_in_place(|| {
        let _held: Vec<_> = gates.iter().map(|gate| gate.lock().unwrap()).collect();
        tokio::runtime::Handle::current().block_on(inside())
    })
}

fn is_revoked(node: &Node, id: CallId) -> bool {
    node.relay
        .commands()
        .iter()
        .any(|told| matches!(told, Told::Revoke { call, scope: Scope::Call, .. } if *call == id))
}

/// Waits until the relay has been told that a call is over.
async fn until_revoked(node: &Node, id: CallId) {
    while !is_revoked(node, id) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_being_opened_can_be_ended() {
    let node = Node::start().await;
    let request = |method, path: &str| node.request(method, path).bearer_auth(KEY);
    let mut asked = JoinSet::new();
    let id = while_held(&[&node.disk.slow_writes], async || {
        asked.spawn(Answer::of(request(Method::POST, "/v1/calls").json(&body())));
        // The store has it before whoever opens it hears of it.
        let listed = loop {
            if let Some(id) = node.listed("").await.pop() {
                break id;
            }
        };
        let id = call_id(&json!({"id": listed}));
        let path = format!("/v1/calls/{listed}");
        asked.spawn(Answer::of(request(Method::DELETE, &path)));
        until_revoked(&node, id).await;
        listed
    });
    while let Some(answer) = asked.join_next().await {
        let call = answer.unwrap().expect(200);
        assert_eq!((&call["id"], &call["phase"]), (&json!(id), &json!("ended")));
        assert!(call["parties"]["a"]["rtc_configuration"].is_null());
    }
    let shown = node.get(&format!("/v1/calls/{id}")).await.expect(200);
    assert_eq!(shown["phase"], "ended");
    assert_eq!(node.listed("?phase=ended").await, [id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_waits_neither_for_openers_nor_for_readers() {
    let node = Node::start().await;
    let mut calls = Vec::new();
    for _ in 0..12 {
        calls.push(node.open(&body()).await);
    }
    let request = |method, path: &str| node.request(method, path).bearer_auth(KEY);
    let (mut asked, mut ended) = (JoinSet::new(), JoinSet::new());
    while_held(&[&node.disk.slow_writes, &node.disk.slow], async || {
        for number in 0..CHANGING + 44 {
            let open = request(Method::POST, "/v1/calls").json(&body());
            let key = (number % 40).to_string();
            asked.spawn(Answer::of(open.header("Idempotency-Key", key)));
        }
        for _ in 0..READING + 10 {
            let missing = "/v1/calls/01890000-0000-7000-8000-000000000000";
            asked.spawn(Answer::of(request(Method::GET, missing)));
        }
        // Whatever found no place has been told so: all places are taken.
        for _ in 0..54 {
            let answer = asked.join_next().await.unwrap().unwrap();
            answer.problem(503, "overloaded");
        }
        for call in &calls {
            ended.spawn(Answer::of(request(Method::DELETE, &path(call))));
        }
        for call in &calls {
            until_revoked(&node, call_id(call)).await;
        }
        for path in ["/livez", "/metrics", "/readyz"] {
            Answer::of(node.request(Method::GET, path))
                .await
                .expect(200);
        }
    });
    while let Some(answer) = ended.join_next().await {
        assert_eq!(answer.unwrap().expect(200)["phase"], "ended");
    }
    while let Some(answer) = asked.join_next().await {
        let answer = answer.unwrap().status.as_u16();
        assert!([201, 404].contains(&answer), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_with_the_end_does_not_undo_it() {
    let node = Node::start().await;
    let call = node.open(&body()).await;
    let request = |method, path: &str| node.request(method, path).bearer_auth(KEY);
    let (mut answered, mut ended) = (JoinSet::new(), JoinSet::new());
    while_held(&[&node.disk.slow_writes], async || {
        let answer = request(Method::POST, &format!("{}/answer", path(&call)));
        answered.spawn(Answer::of(answer.json(&json!({"party": "b"}))));
        while node.disk.writes() < 2 {
            tokio::task::yield_now().await;
        }
        ended.spawn(Answer::of(request(Method::DELETE, &path(&call))));
        until_revoked(&node, call_id(&call)).await;
    });
    answered
        .join_next()
        .await
        .unwrap()
        .unwrap()
        .problem(409, "call-ended");
    let ended = ended.join_next().await.unwrap().unwrap().expect(200);
    assert_eq!(ended["phase"], "ended");
    assert_eq!(node.get(&path(&call)).await.expect(200), ended);
    assert!(node.kept(call_id(&call)).end.is_some(), "the store knows");
}

/// 64 lists at a time left the processor to nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn lists_are_made_two_at_a_time_and_take_no_reader_s_place() {
    let node = Node::start().await;
    let call = node.open(&body()).await;
    let request = |method, path: &str| node.request(method, path).bearer_auth(KEY);
    let mut lists = JoinSet::new();
    while_held(&[&node.disk.slow], async || {
        for _ in 0..READING + 40 {
            lists.spawn(Answer::of(request(Method::GET, "/v1/calls?phase=ended")));
        }
        let made = || node.disk.listings.load(Ordering::SeqCst);
        while made() < 2 {
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            let shown = Answer::of(request(Method::GET, &path(&call))).await;
            assert_eq!(shown.expect(200)["phase"], "ringing");
        }
        let ended = Answer::of(request(Method::DELETE, &path(&call))).await;
        assert_eq!(ended.expect(200)["phase"], "ended");
        assert_eq!(made(), 2);
    });
    while let Some(answer) = lists.join_next().await {
        answer.unwrap().expect(200);
    }
}
