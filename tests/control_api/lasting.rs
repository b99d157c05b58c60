//! What outlives a request: lists, time, restarts, and a disk that is full.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use vizard::control::api::{Address, READING};
use vizard::control::policy::Policy;
use vizard::control::registry::SETTLING;
use vizard::control::store::{Embedded, REMEMBERED_AFTER_EXPIRY};
use vizard_proto::contract::Scope;

use super::harness::{Answer, Disk, KEY, NOW, Node, Told, call_id, path, username};

fn body() -> Value {
    json!({"caller": "a", "parties": [
        {"id": "a", "reveal_address_to": "everybody"},
        {"id": "b", "reveal_address_to": "everybody", "devices": ["phone", "laptop"]}]})
}

async fn answer(node: &Node, call: &Value) -> Value {
    let body = json!({"party": "b", "device": "phone"});
    node.post(&format!("{}/answer", path(call)), &body)
        .await
        .expect(200)
}

#[tokio::test]
async fn lists_come_in_pages_and_by_phase() {
    let node = Node::start().await;
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(node.open(&body()).await);
    }
    answer(&node, &ids[1]).await;
    answer(&node, &ids[4]).await;
    node.delete(&path(&ids[2])).await.expect(200);
    node.delete(&path(&ids[4])).await.expect(200);
    let ids: Vec<_> = ids
        .iter()
        .map(|call| call["id"].as_str().unwrap())
        .collect();
    let expect = async |query: &str, indices: &[usize]| {
        let expected: Vec<_> = indices.iter().map(|index| ids[*index]).collect();
        assert_eq!(node.listed(query).await, expected, "{query}");
    };
    for _ in 0..2 {
        expect("", &[0, 1, 2, 3, 4, 5, 6]).await;
        expect("?phase=ringing", &[0, 3, 5, 6]).await;
        expect("?phase=answered", &[1]).await;
        expect("?phase=ended", &[2, 4]).await;
        expect(&format!("?limit=2&cursor={}", ids[3]), &[4, 5]).await;
        expect(
            &format!("?limit=2&phase=ringing&cursor={}", ids[3]),
            &[5, 6],
        )
        .await;
        // Once more when the ended calls have moved to the store.
        node.pass(SETTLING);
    }
    for (phase, count) in [("", 7), ("&phase=ringing", 4), ("&phase=ended", 2)] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = node
                .get(&format!("/v1/calls?limit=2{phase}{cursor}"))
                .await
                .expect(200);
            let calls = page["calls"].as_array().unwrap();
            assert!((1..=2).contains(&calls.len()));
            seen.extend(
                calls
                    .iter()
                    .map(|call| call["id"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page["next_cursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen.len(), count);
        assert!(seen.is_sorted());
    }
}

#[tokio::test]
async fn a_call_ends_with_its_tickets_and_is_forgotten_later() {
    let node = Node::start().await;
    let mut short = body();
    short["ttl"] = json!(30);
    let call = node.open(&short).await;
    node.relay.told();
    node.pass(29);
    assert_eq!(node.get(&path(&call)).await.expect(200)["phase"], "ringing");
    node.pass(1);
    let ended = node.get(&path(&call)).await.expect(200);
    assert_eq!(ended["phase"], "ended");
    assert_eq!(
        ended["timeline"][1],
        json!({"at": call["expires_at"], "event": "call.expired"})
    );
    assert_eq!(node.delete(&path(&call)).await.expect(200), ended);
    node.pass(SETTLING);
    assert_eq!(node.get(&path(&call)).await.expect(200), ended);
    assert_eq!(node.delete(&path(&call)).await.expect(200), ended);
    node.pass(REMEMBERED_AFTER_EXPIRY);
    node.get(&path(&call)).await.problem(404, "call-not-found");
    node.delete(&path(&call))
        .await
        .problem(404, "call-not-found");
    // Its tickets had died by themselves; the relay's clock might have been another.
    let told = node.relay.told();
    assert!(
        matches!(
            told[..],
            [Told::Revoke {
                scope: Scope::Call,
                ..
            }]
        ),
        "{} commands",
        told.len()
    );
}

#[tokio::test]
async fn a_restart_keeps_calls_and_revocations() {
    let folder = tempfile::tempdir().unwrap();
    let store = || Embedded::open(&folder.path().join("store")).unwrap();
    let node = Node::on(store(), NOW, Policy::default()).await;
    let ringing = node.open(&body()).await;
    let answered = node.open(&body()).await;
    let ended = node.open(&body()).await;
    let mut short = body();
    short["ttl"] = json!(30);
    let expired = node.open(&short).await;
    let direct = answer(&node, &answered).await;
    node.delete(&path(&ended)).await.expect(200);
    let mut before = Vec::new();
    for call in [&ringing, &answered, &ended] {
        before.push(node.get(&path(call)).await.expect(200));
    }
    node.stop().await;

    let node = Node::on(store(), NOW + 100, Policy::default()).await;
    let until = NOW + 7200;
    let device = |call: &Value, name: &str| {
        username(&call["parties"]["b"]["devices"][name]["rtc_configuration"]).to_owned()
    };
    let caller = |call: &Value| username(&call["parties"]["a"]["rtc_configuration"]).to_owned();
    let opened = |call: &Value| vec![caller(call), device(call, "phone"), device(call, "laptop")];
    let all = vec![
        caller(&answered),
        caller(&direct),
        device(&answered, "phone"),
        device(&answered, "laptop"),
        device(&direct, "phone"),
    ];
    assert_eq!(
        node.relay.told(),
        [
            Told::Open {
                call: call_id(&ringing),
                until,
                usernames: opened(&ringing)
            },
            Told::Open {
                call: call_id(&answered),
                until,
                usernames: all
            },
            Told::Revoke {
                call: call_id(&answered),
                until,
                scope: Scope::Device(1, 1)
            },
            Told::Revoke {
                call: call_id(&ended),
                until,
                scope: Scope::Call
            },
            Told::Revoke {
                call: call_id(&expired),
                until: NOW + 30,
                scope: Scope::Call
            },
        ]
    );
    for (call, before) in [&ringing, &answered, &ended].into_iter().zip(before) {
        assert_eq!(node.get(&path(call)).await.expect(200), before);
    }
    assert_eq!(
        node.get(&path(&expired)).await.expect(200)["phase"],
        "ended"
    );
    // The same device may answer again, and gets the same tickets; the other still lost.
    assert_eq!(answer(&node, &answered).await, direct);
    let late = json!({"party": "b", "device": "laptop"});
    let late = node
        .post(&format!("{}/answer", path(&answered)), &late)
        .await;
    late.problem(409, "answered-elsewhere");
    node.delete(&path(&ended)).await.expect(200);
    assert_eq!(node.relay.told(), []);
}

#[tokio::test]
async fn a_call_that_can_t_be_read_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let store = || Embedded::open(&folder.path().join("store")).unwrap();
    let node = Node::on(store(), NOW, Policy::default()).await;
    let call = call_id(&node.open(&body()).await);
    node.stop().await;
    let listen = Address::Tcp("127.0.0.1:0".parse().unwrap());
    let node = Node::at(listen, Disk::foreign(store()), NOW + 1, Policy::default()).await;
    let (until, scope) = (NOW + 7200, Scope::Call);
    assert_eq!(node.relay.told(), [Told::Revoke { call, until, scope }]);
    assert_eq!(node.listed("").await, [""; 0]);
}

#[tokio::test]
async fn a_full_disk_refuses_to_open_and_loses_nothing() {
    let node = Node::start().await;
    let call = node.open(&body()).await;
    node.relay.told();
    node.disk.fill(true);
    node.post("/v1/calls", &body())
        .await
        .problem(503, "store-unavailable");
    // What the relay was told is taken back.
    let told = node.relay.told();
    assert!(
        matches!(&told[..], [Told::Open { call, .. }, Told::Revoke { call: same, scope: Scope::Call, .. }]
            if call == same),
        "{told:?}",
    );
    node.post("/v1/decisions", &body()).await.expect(200);
    node.get("/livez").await.expect(200);
    node.get("/readyz").await.problem(503, "not-ready");
    node.switchboard().tick();
    node.get("/readyz").await.problem(503, "not-ready");
    node.disk.fill(false);
    // No call has to be tried for it.
    node.switchboard().tick();
    node.get("/readyz").await.expect(200);
    assert_eq!(node.listed("").await, [call["id"].as_str().unwrap()]);
    node.open(&body()).await;
}

#[tokio::test]
async fn a_full_disk_leaves_an_answer_undone() {
    let node = Node::start().await;
    let call = node.open(&body()).await;
    node.disk.fill(true);
    node.relay.told();
    let device = json!({"party": "b", "device": "phone"});
    let undone = node.post(&format!("{}/answer", path(&call)), &device).await;
    undone.problem(503, "store-unavailable");
    // No device has lost, and nobody was given a direct path.
    assert!(
        node.relay
            .told()
            .iter()
            .all(|told| matches!(told, Told::Open { .. }))
    );
    let shown = node.get(&path(&call)).await.expect(200);
    assert_eq!(
        (&shown["phase"], &shown["route"]),
        (&json!("ringing"), &json!("masked"))
    );
    assert_eq!(shown["exposure"][0]["what"], "nothing");
    node.disk.fill(false);
    assert_eq!(answer(&node, &call).await["route"], "direct");
}

#[tokio::test]
async fn a_full_disk_does_not_keep_a_call_alive() {
    let folder = tempfile::tempdir().unwrap();
    let store = || Embedded::open(&folder.path().join("store")).unwrap();
    let node = Node::on(store(), NOW, Policy::default()).await;
    let (first, second) = (node.open(&body()).await, node.open(&body()).await);
    node.relay.told();
    node.disk.fill(true);
    for call in [&first, &second] {
        node.delete(&path(call))
            .await
            .problem(503, "store-unavailable");
        // The media has stopped all the same, and asking again asks the store again.
        let (call, until) = (call_id(call), NOW + 7200);
        assert_eq!(
            node.relay.told(),
            [Told::Revoke {
                call,
                until,
                scope: Scope::Call
            }]
        );
    }
    node.delete(&path(&first))
        .await
        .problem(503, "store-unavailable");
    node.pass(SETTLING);
    assert_eq!(node.get(&path(&first)).await.expect(200)["phase"], "ended");
    node.disk.fill(false);
    node.delete(&path(&first)).await.expect(200);
    // The other is saved without being asked for.
    node.pass(1);
    node.stop().await;
    let node = Node::on(store(), NOW + 10, Policy::default()).await;
    let told = node.relay.told();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|told| matches!(
        told,
        Told::Revoke {
            scope: Scope::Call,
            ..
        }
    )));
}

#[tokio::test]
async fn a_bug_ends_one_request() {
    let node = Node::start().await;
    let call = node.open(&body()).await;
    node.disk.break_down();
    let missing = "/v1/calls/01890000-0000-7000-8000-000000000000";
    node.get(missing).await.problem(500, "internal");
    node.get(&path(&call)).await.expect(200);
    node.delete(&path(&call)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_at_once_is_told_to_come_back() {
    let node = Node::start().await;
    let missing = "/v1/calls/01890000-0000-7000-8000-000000000000";
    let get = || node.request(Method::GET, missing).bearer_auth(KEY);
    let (disk, mut waiting) = (Arc::clone(&node.disk), JoinSet::new());
    tokio::task::block_in_place(|| {
        // One request more than can be worked on piles up behind the disk.
        let _slow = disk.slow.lock().unwrap();
        tokio::runtime::Handle::current().block_on(async {
            for _ in 0..=READING {
                waiting.spawn(Answer::of(get()));
            }
            let first = waiting.join_next().await.unwrap().unwrap();
            first.problem(503, "overloaded");
            Answer::of(node.request(Method::GET, "/livez"))
                .await
                .expect(200);
        });
    });
    while let Some(answer) = waiting.join_next().await {
        answer.unwrap().problem(404, "call-not-found");
    }
    Answer::of(get()).await.problem(404, "call-not-found");
}

#[tokio::test]
async fn a_unix_socket_serves_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let listen = Address::Unix(socket.clone());
    let at = async || {
        let store = Embedded::in_memory().unwrap();
        Node::at(listen.clone(), Disk::new(store), NOW, Policy::default()).await
    };
    // A socket that was left behind is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let node = at().await;
    node.open(&body()).await;
    assert_eq!(
        std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o660
    );
    node.stop().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_says_so() {
    use std::sync::Arc;
    use vizard::control::{ControlSettings, reports, serve};
    use vizard::telemetry::Metrics;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = Arc::new(Metrics::new());
    let (_, reports) = reports::queue();
    let settings = ControlSettings {
        listen: Address::Tcp(taken.local_addr().unwrap()),
        node: "node-1".into(),
        live: super::harness::live(Policy::default()),
        clock: vizard::control::Clock::system(),
    };
    let relay = Arc::new(super::harness::FakeRelay::default());
    let store = Arc::new(Embedded::in_memory().unwrap());
    let error = serve(settings, relay, store, reports, metrics)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.starts_with("cannot listen on control.listen = 127.0.0.1:"),
        "{error}"
    );
    assert!(error.contains("another process listens there"), "{error}");
}

/// The whole calls that the relay was told are over.
fn revoked(node: &Node) -> Vec<vizard_proto::auth::ticket::CallId> {
    let told = node.relay.told().into_iter();
    told.filter_map(|told| match told {
        Told::Revoke { call, scope, .. } => (scope == Scope::Call).then_some(call),
        Told::Open { .. } => None,
    })
    .collect()
}

#[tokio::test]
async fn what_a_set_clock_has_ended_stays_ended() {
    let folder = tempfile::tempdir().unwrap();
    let store = || Embedded::open(&folder.path().join("store")).unwrap();
    let node = Node::on(store(), NOW, Policy::default()).await;
    let call = node.open(&body()).await;
    node.set_clock(NOW + 3 * 3600);
    node.set_clock(NOW + 3);
    assert_eq!(revoked(&node), [call_id(&call)]);
    let ended = node.get(&path(&call)).await.expect(200);
    assert_eq!(ended["phase"], "ended");
    node.stop().await;
    // The store knows, though by its clock the tickets would be good.
    let node = Node::on(store(), NOW + 4, Policy::default()).await;
    assert_eq!(revoked(&node), [call_id(&call)]);
    assert_eq!(node.get(&path(&call)).await.expect(200), ended);
}

#[tokio::test]
async fn a_clock_set_back_gives_no_longer_life() {
    let node = Node::start().await;
    let mut short = body();
    short["ttl"] = json!(60);
    let call = node.open(&short).await;
    node.set_clock(NOW - 3 * 3600);
    node.pass(59);
    assert_eq!(revoked(&node), []);
    node.pass(1);
    assert_eq!(revoked(&node), [call_id(&call)]);
    assert_eq!(node.get(&path(&call)).await.expect(200)["phase"], "ended");
}

#[tokio::test]
async fn a_clock_set_ahead_for_a_moment_has_nothing_forgotten() {
    let node = Node::start().await;
    let ended = node.post_once("/v1/calls", "k", &body()).await.expect(201);
    node.delete(&path(&ended)).await.expect(200);
    node.pass(SETTLING);
    for clock in [NOW + 7 * 86_400, NOW + 9] {
        node.set_clock(clock);
        node.get(&path(&ended)).await.expect(200);
    }
    let repeated = node.post_once("/v1/calls", "k", &body()).await.expect(200);
    assert_eq!(repeated["id"], ended["id"]);
}

#[tokio::test]
async fn a_restart_says_up_to_when_calls_are_forgotten() {
    use std::sync::atomic::Ordering;
    let folder = tempfile::tempdir().unwrap();
    let store = || Embedded::open(&folder.path().join("store")).unwrap();
    let node = Node::on(store(), NOW, Policy::default()).await;
    assert_eq!(node.relay.ended_before.load(Ordering::Relaxed), 0);
    let call = node.open(&body()).await;
    node.delete(&path(&call)).await.expect(200);
    node.pass(7200 + REMEMBERED_AFTER_EXPIRY);
    node.pass(1);
    node.get(&path(&call)).await.problem(404, "call-not-found");
    node.stop().await;
    // By this clock its tickets would be good, and nobody remembers the call.
    let node = Node::on(store(), NOW + 5, Policy::default()).await;
    assert_eq!(node.relay.ended_before.load(Ordering::Relaxed), NOW + 7200);
}

#[tokio::test]
async fn usage_of_calls_that_go_on_survives_a_stop() {
    use testkit::Report;
    use vizard_proto::address::Family;
    use vizard_proto::contract::Event;
    use vizard_proto::id::AllocationId;
    use vizard_proto::usage::Usage;
    let folder = tempfile::tempdir().unwrap();
    let store = || Embedded::open(&folder.path().join("store")).unwrap();
    let node = Node::on(store(), NOW, Policy::default()).await;
    let call = node.open(&body()).await;
    let allocation = AllocationId(1);
    node.tell(Report::Event(Event::AllocationCreated {
        allocation,
        call: call_id(&call),
        party: 0,
        device: 0,
        family: Family::V4,
    }));
    let usage = Usage {
        packets: 3,
        bytes: 300,
    };
    // The relay's last words come when no request is taken any more, and are kept as well.
    node.stop_with(Report::Usage(allocation, usage)).await;
    let node = Node::on(store(), NOW + 2, Policy::default()).await;
    let shown = node.get(&path(&call)).await.expect(200);
    assert_eq!(shown["parties"]["a"]["usage"]["packets"], 3);
    assert_eq!(shown["timeline"][1]["event"], "party.connected");
}
