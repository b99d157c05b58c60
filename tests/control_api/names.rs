//! Names of parties and devices: compared and kept in one form, and nothing invisible in them.

use serde_json::json;

use super::harness::{Node, path};

/// `Zoë` in two code points for the last letter, and in one.
const APART: &str = "Zoe\u{308}";
const COMPOSED: &str = "Zo\u{eb}";

#[tokio::test]
async fn two_ways_to_write_a_name_are_one_name() {
    let node = Node::start().await;
    let same = json!({"parties": [{"id": APART}, {"id": COMPOSED}]});
    assert_eq!(
        node.post("/v1/calls", &same).await.faults(),
        ["parties[1].id"]
    );
    let devices = json!({"parties": [{"id": "a", "devices": [APART, COMPOSED]}, {"id": "b"}]});
    assert_eq!(
        node.post("/v1/calls", &devices).await.faults(),
        ["parties[0].devices[1]"]
    );
    let body = json!({
        "parties": [
            {"id": APART, "reveal_address_to": "everybody", "never": ["bob"], "devices": [APART, "x"]},
            {"id": "bob", "reveal_address_to": "nobody", "always": [COMPOSED]}
        ],
        "caller": "bob",
        "facts": [{"from": COMPOSED, "to": "bob", "is": ["contact"]}, {"party": APART, "is": ["verified"]}]
    });
    let call = node.open(&body).await;
    assert!(
        call["parties"][COMPOSED]["devices"][COMPOSED].is_object(),
        "{call:#}"
    );
    let answer = json!({"party": APART, "device": APART});
    let answered = node.post(&format!("{}/answer", path(&call)), &answer).await;
    let answered = answered.expect(200);
    assert_eq!(answered["parties"][COMPOSED]["answered_on"], COMPOSED);
    // One who is never shown an address is not shown it, whichever way the list writes the name.
    let listed = json!({
        "parties": [
            {"id": "a", "reveal_address_to": "everybody", "never": [APART]},
            {"id": COMPOSED, "reveal_address_to": "everybody"}
        ]
    });
    let decided = node.post("/v1/decisions", &listed).await.expect(200);
    assert_eq!(decided["route"], "masked");
}

#[tokio::test]
async fn an_invisible_character_is_named_by_its_number() {
    let node = Node::start().await;
    for (name, number) in [
        ("ali\u{200b}ce", "U+200B"),
        ("\u{202e}ecila", "U+202E"),
        ("alice\u{2069}", "U+2069"),
        ("alice\n", "U+000A"),
        ("\u{3164}", "U+3164"),
        ("a\u{e0001}", "U+E0001"),
    ] {
        let body = json!({"parties": [{"id": name}, {"id": "b", "devices": [name]}]});
        let problem = node.post("/v1/calls", &body).await;
        let problem = problem.problem(422, "invalid-request");
        let errors = problem["errors"].as_array().unwrap();
        let paths: Vec<_> = errors.iter().map(|error| &error["path"]).collect();
        assert_eq!(paths, ["parties[0].id", "parties[1].devices[0]"]);
        for error in errors {
            assert!(
                error["detail"].as_str().unwrap().contains(number),
                "{problem}"
            );
        }
        assert!(!problem.to_string().contains(name));
    }
}
