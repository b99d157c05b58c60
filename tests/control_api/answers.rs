//! Answering, ending, and what is shown of a call.

use std::num::NonZeroU32;

use serde_json::{Value, json};
use testkit::Report;
use vizard::control::policy::{Policy, Reveal};
use vizard_proto::address::Family;
use vizard_proto::contract::{EndReason, Event, Scope};
use vizard_proto::id::AllocationId;
use vizard_proto::usage::Usage;

use super::harness::{NOW, Node, Told, call_id, live, news, path, username};

fn body(reveal: &str) -> Value {
    json!({"caller": "alice", "parties": [
        {"id": "alice", "reveal_address_to": reveal},
        {"id": "bob", "reveal_address_to": reveal, "devices": ["phone", "laptop"]}]})
}

async fn answer(
    node: &Node,
    call: &Value,
    party: &str,
    device: Option<&str>,
) -> super::harness::Answer {
    let body = match device {
        Some(device) => json!({"party": party, "device": device}),
        None => json!({"party": party}),
    };
    node.post(&format!("{}/answer", path(call)), &body).await
}

fn events(call: &Value) -> Vec<(&str, &str)> {
    let moments = call["timeline"].as_array().unwrap().iter();
    moments
        .map(|moment| {
            (
                moment["event"].as_str().unwrap(),
                moment["party"].as_str().unwrap_or(""),
            )
        })
        .collect()
}

#[tokio::test]
async fn an_answer_makes_an_open_call_direct_with_new_tickets() {
    let node = Node::start().await;
    let call = node.open(&body("everybody")).await;
    node.relay.told();
    let answered = answer(&node, &call, "bob", Some("laptop"))
        .await
        .expect(200);
    assert_eq!(answered["phase"], "answered");
    assert_eq!(answered["route"], "direct");
    assert_eq!(answered["apply"], "ice-restart");
    assert_eq!(answered["parties"]["bob"]["answered_on"], "laptop");
    assert_eq!(
        answered["why"],
        json!([
        {"party": "alice", "rule": "reveal-everybody"}, {"party": "bob", "rule": "reveal-everybody"}])
    );
    let devices = answered["parties"]["bob"]["devices"].as_object().unwrap();
    assert_eq!(devices.keys().collect::<Vec<_>>(), ["laptop"]);
    let alice = &answered["parties"]["alice"]["rtc_configuration"];
    let bob = &devices["laptop"]["rtc_configuration"];
    for (configuration, serial) in [(alice, 1), (bob, 3)] {
        assert_eq!(configuration["iceTransportPolicy"], "all");
        assert_eq!(
            configuration["iceServers"][0],
            json!({"urls": ["stun:relay.example:3478"]})
        );
        let ticket = node.ticket(configuration);
        assert_eq!(
            (ticket.masked, ticket.device, ticket.expires_at),
            (false, serial, NOW + 7200)
        );
    }
    let (call, until) = (call_id(&call), NOW + 7200);
    let usernames = vec![username(alice).to_owned(), username(bob).to_owned()];
    assert_eq!(
        node.relay.told(),
        [
            Told::Open {
                call,
                until,
                usernames
            },
            Told::Revoke {
                call,
                until,
                scope: Scope::Device(1, 0)
            },
        ]
    );
}

#[tokio::test]
async fn an_answer_leaves_a_masked_call_masked() {
    let node = Node::start().await;
    let call = node.open(&body("nobody")).await;
    node.relay.told();
    let answered = answer(&node, &call, "bob", Some("phone")).await.expect(200);
    assert_eq!(
        (&answered["phase"], &answered["route"]),
        (&json!("answered"), &json!("masked"))
    );
    assert!(answered["apply"].is_null());
    assert!(answered["parties"]["alice"]["rtc_configuration"].is_null());
    let (call, until) = (call_id(&call), NOW + 7200);
    assert_eq!(
        node.relay.told(),
        [Told::Revoke {
            call,
            until,
            scope: Scope::Device(1, 1)
        }]
    );
}

#[tokio::test]
async fn the_first_device_wins_and_may_answer_again() {
    let node = Node::start().await;
    let call = node.open(&body("everybody")).await;
    let first = answer(&node, &call, "bob", Some("phone")).await.expect(200);
    node.relay.told();
    node.pass(5);
    assert_eq!(
        answer(&node, &call, "bob", Some("phone")).await.expect(200),
        first
    );
    answer(&node, &call, "bob", Some("laptop"))
        .await
        .problem(409, "answered-elsewhere");
    assert_eq!(node.relay.told(), []);
}

#[tokio::test]
async fn who_answers_on_what_must_be_clear() {
    let node = Node::start().await;
    let call = node.open(&body("everybody")).await;
    assert_eq!(answer(&node, &call, "bob", None).await.faults(), ["device"]);
    assert_eq!(
        answer(&node, &call, "bob", Some("fridge")).await.faults(),
        ["device"]
    );
    assert_eq!(
        answer(&node, &call, "carol", None).await.faults(),
        ["party"]
    );
    assert_eq!(
        answer(&node, &call, "alice", None).await.faults(),
        ["party"]
    );
    assert_eq!(node.get(&path(&call)).await.expect(200)["phase"], "ringing");
    let missing = json!({"id": "01890000-0000-7000-8000-000000000000"});
    answer(&node, &missing, "bob", None)
        .await
        .problem(404, "call-not-found");
    node.delete(&path(&call)).await.expect(200);
    answer(&node, &call, "bob", Some("phone"))
        .await
        .problem(409, "call-ended");
}

#[tokio::test]
async fn a_device_without_a_name_may_be_given_one_by_its_answer() {
    let node = Node::start().await;
    let call = node
        .open(&json!({"parties": [{"id": "a"}, {"id": "b"}], "caller": "a"}))
        .await;
    let answered = answer(&node, &call, "b", Some("phone")).await.expect(200);
    assert_eq!(answered["parties"]["b"]["answered_on"], "phone");
    answer(&node, &call, "b", Some("phone")).await.expect(200);
    answer(&node, &call, "b", Some("laptop"))
        .await
        .problem(409, "answered-elsewhere");
}

#[tokio::test]
async fn a_group_goes_direct_with_its_last_answer() {
    let node = Node::start().await;
    let party = |id: &str| json!({"id": id, "reveal_address_to": "everybody"});
    let parties = json!([party("a"), party("b"), party("c")]);
    let call = node.open(&json!({"parties": parties, "caller": "b"})).await;
    let first = answer(&node, &call, "a", None).await.expect(200);
    assert_eq!(
        (&first["phase"], &first["route"]),
        (&json!("answered"), &json!("masked"))
    );
    assert!(first["apply"].is_null());
    let last = answer(&node, &call, "c", None).await.expect(200);
    assert_eq!(
        (&last["route"], &last["apply"]),
        (&json!("direct"), &json!("ice-restart"))
    );
    assert_eq!(answer(&node, &call, "a", None).await.expect(200), last);
    let shown = node.get(&path(&call)).await.expect(200);
    assert_eq!(shown["exposure"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn a_policy_that_became_stricter_while_it_rang_keeps_the_call_masked() {
    let open = Policy {
        default_reveal: Reveal::Everybody,
        ..Policy::default()
    };
    let node = Node::with(open.clone()).await;
    let parties = json!({"parties": [{"id": "a"}, {"id": "b"}], "caller": "a"});
    let call = node.open(&parties).await;
    assert_eq!(call["phases"]["answered"], "direct");
    node.switchboard().reload(live(Policy::default()));
    assert_eq!(
        answer(&node, &call, "b", None).await.expect(200)["route"],
        "masked"
    );
    // Nor does one that became looser open it.
    let call = node.open(&parties).await;
    node.switchboard().reload(live(open));
    assert_eq!(
        answer(&node, &call, "b", None).await.expect(200)["route"],
        "masked"
    );
}

#[tokio::test]
async fn no_room_in_the_relay_leaves_an_answer_undone() {
    let node = Node::start().await;
    let call = node.open(&body("everybody")).await;
    node.relay.fill(true);
    answer(&node, &call, "bob", Some("phone"))
        .await
        .problem(503, "cannot-mask");
    assert_eq!(node.get(&path(&call)).await.expect(200)["phase"], "ringing");
    node.relay.fill(false);
    answer(&node, &call, "bob", Some("laptop"))
        .await
        .expect(200);
}

#[tokio::test]
async fn an_ended_call_is_over_for_good() {
    let node = Node::start().await;
    let call = node.open(&body("nobody")).await;
    node.relay.told();
    node.pass(7);
    let ended = node.delete(&path(&call)).await.expect(200);
    assert_eq!(ended["phase"], "ended");
    assert_eq!(events(&ended), [("call.ringing", ""), ("call.ended", "")]);
    let (id, until) = (call_id(&call), NOW + 7200);
    assert_eq!(
        node.relay.told(),
        [Told::Revoke {
            call: id,
            until,
            scope: Scope::Call
        }]
    );
    node.pass(3);
    assert_eq!(node.delete(&path(&call)).await.expect(200), ended);
    node.pass(100);
    assert_eq!(node.delete(&path(&call)).await.expect(200), ended);
    assert_eq!(node.get(&path(&call)).await.expect(200), ended);
    assert_eq!(node.relay.told(), []);
    let never = "/v1/calls/01890000-0000-7000-8000-000000000000";
    node.delete(never).await.problem(404, "call-not-found");
    node.delete("/v1/calls/none")
        .await
        .problem(404, "call-not-found");
}

fn created(allocation: u64, call: &Value, party: u8) -> Report {
    let (allocation, call) = (AllocationId(allocation), call_id(call));
    let family = Family::V4;
    Report::Event(Event::AllocationCreated {
        allocation,
        call,
        party,
        device: 0,
        family,
    })
}

fn ended(allocation: u64, call: &Value, party: u8) -> Report {
    let (allocation, call, reason) = (AllocationId(allocation), call_id(call), EndReason::Deleted);
    Report::Event(Event::AllocationEnded {
        allocation,
        call,
        party,
        device: 0,
        reason,
    })
}

fn used(allocation: u64, packets: u64, bytes: u64) -> Report {
    Report::Usage(AllocationId(allocation), Usage { packets, bytes })
}

#[tokio::test]
async fn a_call_shows_what_happened_and_what_was_sent() {
    let node = Node::start().await;
    let call = node.open(&body("nobody")).await;
    let report = |reports: &[Report]| node.switchboard().report(news(reports));
    node.pass(1);
    report(&[
        created(1, &call, 0),
        used(1, 2, 300),
        created(2, &call, 1),
        used(9, 99, 99),
    ]);
    node.pass(1);
    answer(&node, &call, "bob", Some("phone")).await.expect(200);
    report(&[
        created(3, &call, 0),
        used(3, 1, 10),
        ended(1, &call, 0),
        used(1, 1, 100),
    ]);
    let shown = node.get(&path(&call)).await.expect(200);
    assert_eq!(
        shown["parties"]["alice"]["usage"],
        json!({"packets": 4, "bytes": 410})
    );
    assert_eq!(
        shown["parties"]["bob"]["usage"],
        json!({"packets": 0, "bytes": 0})
    );
    node.pass(1);
    node.delete(&path(&call)).await.expect(200);
    // What was sent last is reported a moment after the end.
    report(&[ended(3, &call, 0), used(3, 5, 50)]);
    node.pass(10);
    report(&[used(3, 99, 99)]);
    let shown = node.get(&path(&call)).await.expect(200);
    assert_eq!(
        shown["parties"]["alice"]["usage"],
        json!({"packets": 9, "bytes": 460})
    );
    assert_eq!(
        events(&shown),
        [
            ("call.ringing", ""),
            ("party.connected", "alice"),
            ("party.connected", "bob"),
            ("party.answered", "bob"),
            ("call.ended", ""),
        ]
    );
}

#[tokio::test]
async fn reports_come_through_the_relays_queue() {
    let node = Node::start().await;
    let call = node.open(&body("nobody")).await;
    node.tell(created(1, &call, 0));
    node.tell(used(1, 3, 30));
    loop {
        let shown = node.get(&path(&call)).await.expect(200);
        if shown["parties"]["alice"]["usage"]["packets"] == 3 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn exposure_says_who_could_have_learned_what() {
    let node = Node::start().await;
    let exposure = async |call: &Value| {
        let shown = node.get(&path(call)).await.expect(200);
        shown["exposure"].clone()
    };
    let pair = |of: &str, to: &str, rest: Value| {
        let mut pair = json!({"of": of, "to": to});
        pair.as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        pair
    };
    let nothing = json!({"what": "nothing"});
    let both = |rest: &Value| {
        json!([
            pair("alice", "bob", rest.clone()),
            pair("bob", "alice", rest.clone())
        ])
    };
    let call = node.open(&body("everybody")).await;
    assert_eq!(exposure(&call).await, both(&nothing));
    node.pass(60);
    answer(&node, &call, "bob", Some("phone")).await.expect(200);
    let address = json!({"what": "address", "since": "2026-09-21T14:14:20Z"});
    assert_eq!(exposure(&call).await, both(&address));
    node.delete(&path(&call)).await.expect(200);
    assert_eq!(exposure(&call).await, both(&address));
    let masked = node.open(&body("contacts")).await;
    answer(&node, &masked, "bob", Some("phone"))
        .await
        .expect(200);
    assert_eq!(exposure(&masked).await, both(&nothing));
}

#[tokio::test]
async fn what_is_shown_holds_no_ticket() {
    let node = Node::start().await;
    let mut limited = body("everybody");
    limited["limits"] = json!({"kbps": NonZeroU32::MAX});
    let call = node.open(&limited).await;
    answer(&node, &call, "bob", Some("phone")).await.expect(200);
    let shown = node.get(&path(&call)).await.expect(200);
    let list = node.get("/v1/calls").await.expect(200);
    let ended = node.delete(&path(&call)).await.expect(200);
    for text in [shown.to_string(), list.to_string(), ended.to_string()] {
        assert!(
            !text.contains("credential") && !text.contains("iceServers"),
            "{text}"
        );
    }
}
