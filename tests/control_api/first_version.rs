//! A store that the first version of vizard wrote (`first_version/`, made by the code of commit
//! 0b16028, with what that code said of its calls) is taken over whole.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vizard::control::policy::Policy;
use vizard::control::store::{Embedded, Found, Past, Store};
use vizard_proto::contract::Scope;

use super::harness::{Node, Told, call_id, path};

fn copied(to: &Path) -> PathBuf {
    let file = to.join("calls.redb");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control_api/first_version");
    std::fs::copy(from.join("calls.redb"), &file).unwrap();
    file
}

fn said() -> Value {
    serde_json::from_str(include_str!("first_version/shown.json")).unwrap()
}

/// How the ringing call was opened.
fn body() -> Value {
    json!({"caller": "alice", "ttl": 3600, "limits": {"kbps": 512},
        "facts": [
            {"from": "bob", "to": "alice", "is": ["following", "contact", "messaged"]},
            {"from": "alice", "to": "bob", "is": ["contact"]},
            {"party": "alice", "is": ["verified"]}],
        "parties": [
            {"id": "alice", "reveal_address_to": "contacts", "always": ["bob"],
             "callable_by": ["following", "verified"]},
            {"id": "bob", "reveal_address_to": "everybody", "never": ["carol"],
             "devices": ["phone", "laptop"]},
            {"id": "carol", "reveal_address_to": "nonsense", "callable_by": ["everyone"]}]})
}

#[tokio::test]
async fn every_call_and_request_is_taken_over() {
    let (folder, said) = (tempfile::tempdir().unwrap(), said());
    let file = copied(folder.path());
    let now = said["at"].as_u64().unwrap();
    for round in 0..2 {
        // What was rewritten is read like what was written anew.
        let past = Found::at(&file).unwrap().past();
        let expected = [Past::FirstVersion, Past::Whole][round];
        assert_eq!(past, expected);
        let store = Embedded::open(&file).unwrap();
        let node = Node::on(store, now, Policy::default()).await;
        let calls = said["calls"].as_array().unwrap();
        for call in calls {
            assert_eq!(node.get(&path(call)).await.expect(200), *call);
        }
        let revoked: Vec<_> = node.relay.told();
        for ended in &calls[2..] {
            let id = call_id(ended);
            let is_it = |told: &Told| matches!(told, Told::Revoke { call, scope: Scope::Call, .. } if *call == id);
            assert!(revoked.iter().any(is_it));
        }
        let opened = &said["opened"];
        let repeated = node.post_once("/v1/calls", "k-ringing", &body()).await;
        let mut repeated = repeated.expect(201);
        // The first version gave a party with devices none of its own.
        for (id, party) in opened["parties"].as_object().unwrap() {
            if party["rtc_configuration"].is_null() {
                let given = repeated["parties"][id].as_object_mut().unwrap();
                given.remove("rtc_configuration").unwrap();
            }
        }
        assert_eq!(repeated, *opened);
        assert_eq!(node.listed("?phase=ended").await.len(), 2);
        node.stop().await;
    }
}

#[test]
fn it_is_forgotten_when_its_time_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(&copied(folder.path())).unwrap();
    assert_eq!(store.calls(None, 9).unwrap().len(), 4);
    assert_eq!(store.ended(None, 9).unwrap().len(), 2);
    let last = said()["at"].as_u64().unwrap() + 2 * 86_400;
    store.forget(last).unwrap();
    assert_eq!(store.calls(None, 9).unwrap(), []);
    assert_eq!(store.ended(None, 9).unwrap(), []);
    let until = store.ended_before().unwrap();
    assert!(until > 1_790_007_000 && until < 1_790_008_000, "{until}");
}
