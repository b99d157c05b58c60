//! Decisions, and opening calls.

use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use vizard::control::policy::{Policy, Reveal, Ringing};
use vizard::control::switchboard::Live;
use vizard_proto::auth::ticket::Ticket;

use super::harness::{NOW, Node, Told, call_id, live, path, relay_server, username};

/// The example of the interface description.
fn example() -> Value {
    json!({
        "parties": [
            {"id": "alice", "reveal_address_to": "nobody", "callable_by": ["following", "verified"]},
            {"id": "bob"},
        ],
        "caller": "alice",
        "facts": [
            {"from": "bob", "to": "alice", "is": ["following", "contact", "messaged"]},
            {"party": "alice", "is": ["verified"]},
        ],
        "ttl": 7200,
        "limits": {"kbps": 4000},
    })
}

fn two(alice: &str, bob: &str) -> Value {
    json!({"caller": "alice", "parties": [
        {"id": "alice", "reveal_address_to": alice}, {"id": "bob", "reveal_address_to": bob}]})
}

#[tokio::test]
async fn a_masked_call_is_opened_with_a_ticket_for_each_party() {
    let node = Node::start().await;
    let answer = node.post("/v1/calls", &example()).await;
    let location = answer.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(answer.headers["cache-control"], "no-store");
    let call = answer.expect(201);
    assert_eq!(location, path(&call));
    for (field, value) in [
        ("phase", json!("ringing")),
        ("route", json!("masked")),
        ("ttl", json!(7200)),
        ("node", json!("node-1")),
        ("opened_at", json!("2026-09-21T14:13:20Z")),
        ("expires_at", json!("2026-09-21T16:13:20Z")),
        (
            "why",
            json!([
                {"party": "alice", "rule": "reveal-nobody"},
                {"party": "bob", "rule": "default-reveal-nobody"},
            ]),
        ),
    ] {
        assert_eq!(call[field], value, "{field}");
    }
    let mut usernames = Vec::new();
    for (index, party) in ["alice", "bob"].into_iter().enumerate() {
        let party = &call["parties"][party];
        assert_eq!(
            (&party["masked"], &party["visible_to"]),
            (&json!(true), &json!([]))
        );
        let configuration = &party["rtc_configuration"];
        assert_eq!(configuration["iceTransportPolicy"], "relay");
        assert_eq!(configuration["iceServers"].as_array().unwrap().len(), 1);
        assert_eq!(
            relay_server(configuration)["urls"],
            json!([
                "turn:relay.example:3478?transport=udp",
                "turn:relay.example:3478?transport=tcp"
            ])
        );
        let ticket = Ticket {
            call: call_id(&call),
            party: u8::try_from(index).unwrap(),
            device: 0,
            expires_at: NOW + 7200,
            kbps: 4000,
            masked: true,
        };
        assert_eq!(node.ticket(configuration), ticket);
        usernames.push(username(configuration).to_owned());
    }
    let until = NOW + 7200;
    assert_eq!(
        node.relay.told(),
        [Told::Open {
            call: call_id(&call),
            until,
            usernames
        }]
    );
}

#[tokio::test]
async fn the_least_that_can_be_said_is_enough_and_masked() {
    let node = Node::start().await;
    let call = node
        .open(&json!({"parties": [{"id": "a"}, {"id": "b"}]}))
        .await;
    assert_eq!(
        (&call["route"], &call["ttl"]),
        (&json!("masked"), &json!(7200))
    );
    assert_eq!(
        node.ticket(&call["parties"]["a"]["rtc_configuration"]).kbps,
        0
    );
}

#[tokio::test]
async fn each_device_has_its_own_ticket() {
    let node = Node::start().await;
    let call = node
        .open(&json!({"parties": [
        {"id": "a", "devices": ["only"]}, {"id": "b", "devices": ["phone", "laptop"]}]}))
        .await;
    let (a, b) = (&call["parties"]["a"], &call["parties"]["b"]);
    // Without any a browser would connect directly: who forgets the devices gets the first one's.
    for (party, first) in [(a, "only"), (b, "phone")] {
        let of_device = &party["devices"][first]["rtc_configuration"];
        assert_eq!(&party["rtc_configuration"], of_device);
    }
    let serial = |party: &Value, device: &str| {
        let ticket = node.ticket(&party["devices"][device]["rtc_configuration"]);
        (ticket.party, ticket.device)
    };
    assert_eq!(serial(a, "only"), (0, 0));
    assert_eq!((serial(b, "phone"), serial(b, "laptop")), ((1, 0), (1, 1)));
    assert!(
        matches!(&node.relay.told()[..], [Told::Open { usernames, .. }] if usernames.len() == 3)
    );
}

#[tokio::test]
async fn ringing_is_relayed_even_if_the_answer_will_make_it_direct() {
    let node = Node::start().await;
    let call = node.open(&two("everybody", "everybody")).await;
    assert_eq!(call["route"], "masked");
    assert_eq!(call["why"], json!([{"rule": "ringing"}]));
    assert_eq!(
        call["phases"],
        json!({"ringing": "masked", "answered": "direct"})
    );
    let configuration = &call["parties"]["alice"]["rtc_configuration"];
    assert_eq!(configuration["iceTransportPolicy"], "relay");
    assert!(node.ticket(configuration).masked);
}

#[tokio::test]
async fn a_policy_may_leave_ringing_open() {
    let node = Node::with(Policy {
        ringing: Ringing::Final,
        ..Policy::default()
    })
    .await;
    let call = node.open(&two("everybody", "everybody")).await;
    assert_eq!(
        (&call["route"], &call["phase"]),
        (&json!("direct"), &json!("ringing"))
    );
    let alice = &call["parties"]["alice"];
    assert_eq!(
        (&alice["masked"], &alice["visible_to"]),
        (&json!(false), &json!(["bob"]))
    );
    let configuration = &alice["rtc_configuration"];
    assert_eq!(configuration["iceTransportPolicy"], "all");
    assert_eq!(
        configuration["iceServers"][0],
        json!({"urls": ["stun:relay.example:3478"]})
    );
    assert!(!node.ticket(configuration).masked);
    let answered = node
        .post(&format!("{}/answer", path(&call)), &json!({"party": "bob"}))
        .await;
    let answered = answered.expect(200);
    assert_eq!(answered["route"], "direct");
    assert!(
        answered["apply"].is_null(),
        "the tickets of the opening still do"
    );
    let shown = node.get(&path(&call)).await.expect(200);
    assert_eq!(shown["exposure"][0]["since"], call["opened_at"]);
}

#[tokio::test]
async fn a_decision_says_what_opening_would_and_does_nothing() {
    let node = Node::start().await;
    let ask = async |body: Value| node.post("/v1/decisions", &body).await.expect(200);
    let masked = ask(example()).await;
    assert_eq!(masked["route"], "masked");
    assert_eq!(
        masked["parties"]["bob"],
        json!({"masked": true, "visible_to": []})
    );
    let direct = ask(two("everybody", "everybody")).await;
    assert_eq!(direct["route"], "direct");
    assert_eq!(
        direct["phases"],
        json!({"ringing": "masked", "answered": "direct"})
    );
    assert_eq!(
        direct["parties"]["alice"],
        json!({"masked": false, "visible_to": ["bob"]})
    );
    assert!(direct["public_reason"].is_null());
    assert_eq!(node.relay.told(), []);
    assert_eq!(node.listed("").await, [""; 0]);
}

#[tokio::test]
async fn a_refused_call_is_told_with_reasons_for_the_platform_alone() {
    let node = Node::start().await;
    let mut body = two("everybody", "everybody");
    body["facts"] = json!([{"from": "bob", "to": "alice", "is": ["blocked"]}]);
    let problem = node
        .post("/v1/calls", &body)
        .await
        .problem(403, "call-refused");
    assert_eq!(problem["why"], json!([{"party": "bob", "rule": "blocked"}]));
    let decision = node.post("/v1/decisions", &body).await.expect(200);
    assert_eq!(
        (&decision["route"], &decision["why"]),
        (&json!("refused"), &problem["why"])
    );
    assert_eq!(
        decision["parties"]["bob"],
        json!({"masked": true, "visible_to": []})
    );
    // What the caller may hear is the same whatever the reason.
    let mut other = two("everybody", "everybody");
    other["parties"][1]["callable_by"] = json!([]);
    let other = node
        .post("/v1/calls", &other)
        .await
        .problem(403, "call-refused");
    assert_eq!(
        other["why"],
        json!([{"party": "bob", "rule": "callable-by-nobody"}])
    );
    assert_eq!(other["public_reason"], problem["public_reason"]);
    assert_eq!(decision["public_reason"], problem["public_reason"]);
    assert_eq!(node.relay.told(), []);
}

#[tokio::test]
async fn facts_are_read_from_left_to_right() {
    let node = Node::start().await;
    let route = async |facts: Value| {
        let mut body = two("contacts", "everybody");
        body["facts"] = facts;
        node.post("/v1/decisions", &body).await.expect(200)["route"].clone()
    };
    let contact = |from: &str, to: &str| json!([{"from": from, "to": to, "is": ["contact"]}]);
    assert_eq!(route(json!([])).await, "masked");
    assert_eq!(route(contact("bob", "alice")).await, "masked");
    assert_eq!(route(contact("alice", "bob")).await, "direct");
}

#[tokio::test]
async fn words_that_nobody_knows_count_as_the_most_private() {
    let node = Node::start().await;
    let decide = async |change: &dyn Fn(&mut Value)| {
        let mut body = two("everybody", "everybody");
        change(&mut body);
        node.post("/v1/decisions", &body).await.expect(200)
    };
    let unknown = |party: &str, rule: &str| json!([{"party": party, "rule": rule}]);
    let reveal = decide(&|body| body["parties"][0]["reveal_address_to"] = json!("friends")).await;
    assert_eq!(
        (&reveal["route"], &reveal["why"]),
        (&json!("masked"), &unknown("alice", "reveal-unknown"))
    );
    let callable = decide(&|body| body["parties"][1]["callable_by"] = json!(["friends"])).await;
    assert_eq!(callable["why"], unknown("bob", "callable-by-unknown"));
    assert_eq!(callable["route"], "refused");
    let fact = json!([{"from": "bob", "to": "alice", "is": ["blocks"]}]);
    let fact = decide(&|body| body["facts"] = fact.clone()).await;
    assert_eq!(
        (&fact["route"], &fact["why"]),
        (&json!("masked"), &unknown("bob", "fact-unknown"))
    );
}

#[tokio::test]
async fn lists_of_exceptions_go_by_id() {
    let node = Node::start().await;
    let mut body = two("nobody", "everybody");
    body["parties"][0]["always"] = json!(["bob", "somebody else"]);
    let decision = node.post("/v1/decisions", &body).await.expect(200);
    assert_eq!(decision["route"], "direct");
    body["parties"][0]["never"] = json!(["bob"]);
    let decision = node.post("/v1/decisions", &body).await.expect(200);
    assert_eq!(
        decision["why"],
        json!([{"party": "alice", "rule": "never"}])
    );
}

#[tokio::test]
async fn sixteen_parties_are_masked_by_one() {
    let node = Node::start().await;
    let mut parties: Vec<Value> = (0..16)
        .map(|index| json!({"id": format!("p{index}"), "reveal_address_to": "everybody"}))
        .collect();
    let decide = async |parties: &Vec<Value>| {
        let body = json!({"parties": parties, "caller": "p0"});
        node.post("/v1/decisions", &body).await.expect(200)
    };
    assert_eq!(decide(&parties).await["route"], "direct");
    parties[9] = json!({"id": "p9", "reveal_address_to": "contacts"});
    let masked = decide(&parties).await;
    assert_eq!(
        masked["why"],
        json!([{"party": "p9", "rule": "reveal-contacts"}])
    );
    assert!(
        masked["parties"]
            .as_object()
            .unwrap()
            .values()
            .all(|party| party["masked"] == true)
    );
    let call = node.open(&json!({"parties": parties})).await;
    assert_eq!(
        node.ticket(&call["parties"]["p15"]["rtc_configuration"])
            .party,
        15
    );
    parties.push(json!({"id": "p16"}));
    assert_eq!(
        node.post("/v1/calls", &json!({"parties": parties}))
            .await
            .faults(),
        ["parties"]
    );
}

#[tokio::test]
async fn the_policy_gives_the_default_and_the_limit_of_the_ttl() {
    let policy = Policy {
        ticket_ttl: 1800,
        max_call: 3600,
        default_reveal: Reveal::Everybody,
        ..Policy::default()
    };
    let node = Node::with(policy).await;
    let with = |ttl: u32| json!({"parties": [{"id": "a"}, {"id": "b"}], "ttl": ttl});
    assert_eq!(
        node.open(&json!({"parties": [{"id": "a"}, {"id": "b"}]}))
            .await["ttl"],
        1800
    );
    for ttl in [30, 3600] {
        assert_eq!(node.open(&with(ttl)).await["ttl"], ttl);
    }
    for ttl in [0, 29, 3601, u32::MAX] {
        let problem = node
            .post("/v1/calls", &with(ttl))
            .await
            .problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["path"], "ttl");
        let detail = problem["errors"][0]["detail"].as_str().unwrap();
        assert_eq!(detail, "must be 30 to 3600 seconds (policy.max_call)");
        node.post("/v1/decisions", &with(ttl))
            .await
            .problem(422, "invalid-request");
    }
}

#[tokio::test]
async fn a_call_that_the_relay_can_t_take_is_not_made() {
    let node = Node::start().await;
    node.relay.fill(true);
    node.get("/readyz").await.problem(503, "not-ready");
    for body in [two("nobody", "nobody"), two("everybody", "everybody")] {
        let answer = node.post("/v1/calls", &body).await;
        assert_eq!(answer.headers["retry-after"], "1");
        answer.problem(503, "cannot-mask");
    }
    assert_eq!(node.listed("").await, [""; 0]);
    node.relay.fill(false);
    node.get("/readyz").await.expect(200);
    node.open(&two("nobody", "nobody")).await;
}

#[tokio::test]
async fn a_stuck_relay_is_neither_alive_nor_ready() {
    let node = Node::start().await;
    node.relay.stuck.store(true, Ordering::Relaxed);
    for path in ["/livez", "/readyz"] {
        node.get(path).await.problem(503, "not-ready");
    }
    node.relay.stuck.store(false, Ordering::Relaxed);
    for path in ["/livez", "/readyz"] {
        node.get(path).await.expect(200);
    }
}

#[tokio::test]
async fn a_node_that_is_drained_takes_no_calls_and_keeps_those_it_has() {
    let node = Node::start().await;
    let call = node.open(&two("everybody", "everybody")).await;
    node.switchboard().drain();
    node.get("/readyz").await.problem(503, "not-ready");
    node.get("/livez").await.expect(200);
    node.post("/v1/calls", &two("nobody", "nobody"))
        .await
        .problem(503, "cannot-mask");
    let answer = node
        .post(&format!("{}/answer", path(&call)), &json!({"party": "bob"}))
        .await;
    assert_eq!(answer.expect(200)["route"], "direct");
    node.delete(&path(&call)).await.expect(200);
}

/// What a masked party gets without a URL is no relay: werift then gathers its own addresses.
#[tokio::test]
async fn without_a_url_nobody_is_given_a_ticket() {
    let node = Node::start().await;
    let unreachable = Live {
        offers: Vec::new(),
        ..live(Policy::default())
    };
    node.switchboard().reload(unreachable);
    node.relay.told();
    node.get("/readyz").await.problem(503, "not-ready");
    let answer = node.post("/v1/calls", &example()).await;
    answer.problem(503, "cannot-mask");
    assert_eq!(node.relay.told(), [], "nothing was opened");
    let calls = node.get("/v1/calls").await.expect(200);
    assert_eq!(calls["calls"], json!([]));
    node.post("/v1/decisions", &example()).await.expect(200);

    node.switchboard().reload(live(Policy::default()));
    node.get("/readyz").await.expect(200);
    node.post("/v1/calls", &example()).await.expect(201);
}
