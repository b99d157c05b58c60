//! Every field of every body with every wrong type in it: what is said of it, and what it may cost.

use serde_json::{Value, json};
use vizard::control::api::BODY_LIMIT;

use super::harness::{Answer, Node, path};

/// What is said of a type in Rust, and never of a type in JSON.
const RUST: [&str; 22] = [
    "struct",
    "u8",
    "u16",
    "u32",
    "u64",
    "i32",
    "i64",
    "usize",
    "f64",
    "nonzero",
    "bool",
    "map",
    "sequence",
    "unit",
    "option",
    "vec",
    "enum",
    "variant",
    "tuple",
    "serde",
    "expected",
    "invalid type",
];

/// A body that has every field.
fn whole() -> Value {
    json!({
        "parties": [
            {"id": "a", "reveal_address_to": "contacts", "always": ["b"], "never": ["c"],
             "callable_by": ["everyone"], "devices": ["phone"], "addresses": ["192.0.2.1:5000"]},
            {"id": "b"}
        ],
        "caller": "a",
        "facts": [{"from": "b", "to": "a", "party": "a", "is": ["contact"]}],
        "ttl": 60,
        "limits": {"kbps": 100}
    })
}

/// The pointers (RFC 6901) of all that is in `value`, and its paths as the API writes them.
fn places(value: &Value, pointer: &str, path: &str, all: &mut Vec<(String, String)>) {
    all.push((
        pointer.into(),
        if path.is_empty() {
            ".".into()
        } else {
            path.into()
        },
    ));
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                places(
                    value,
                    &format!("{pointer}/{name}"),
                    &format!("{path}{dot}{name}"),
                    all,
                );
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(
                    value,
                    &format!("{pointer}/{index}"),
                    &format!("{path}[{index}]"),
                    all,
                );
            }
        }
        _ => (),
    }
}

/// A secret that a wrong value holds, to see that it is not repeated.
const SECRET: &str = "203.0.113.77";

fn wrong() -> [Value; 8] {
    [
        json!(SECRET),
        json!([SECRET]),
        json!({SECRET: 1}),
        json!(true),
        json!(7),
        json!(-7),
        json!(7.5),
        json!(u64::MAX),
    ]
}

/// Whether two values are of one type of JSON's.
fn alike(one: &Value, other: &Value) -> bool {
    let same = std::mem::discriminant(one) == std::mem::discriminant(other);
    same && !(one.is_number() && one.as_u64().is_none_or(|one| one > 1000))
}

fn check_words(problem: &Value) {
    let said = format!("{} {}", problem["detail"], problem["errors"]).to_lowercase();
    let mut words = said.split(|c: char| !c.is_ascii_alphanumeric());
    let found = words.find(|word| RUST.contains(word));
    assert_eq!(found, None, "{problem}");
    assert!(
        !said.contains("invalid type") && !said.contains("::"),
        "{problem}"
    );
}

async fn sweep(node: &Node, endpoint: &str, whole: &Value) {
    let mut all = Vec::new();
    places(whole, "", "", &mut all);
    for (pointer, place) in all {
        for wrong in wrong() {
            let mut body = whole.clone();
            let there = body.pointer_mut(&pointer).unwrap();
            if alike(&wrong, there) {
                continue;
            }
            *there = wrong.clone();
            let problem = node.post(endpoint, &body).await;
            let problem = problem.problem(422, "invalid-request");
            let errors = problem["errors"].as_array().unwrap();
            let said = errors.iter().find(|error| error["path"] == place.as_str());
            let said = said.unwrap_or_else(|| panic!("{place}: {problem}"));
            assert!(
                said["detail"].as_str().unwrap().starts_with("must be "),
                "{said}"
            );
            check_words(&problem);
            assert!(!problem.to_string().contains(SECRET), "{problem}");
        }
    }
}

#[tokio::test]
async fn a_wrong_type_is_told_in_the_words_of_json_at_its_place() {
    let node = Node::start().await;
    sweep(&node, "/v1/decisions", &whole()).await;
    let call = path(
        &node
            .open(&json!({"parties": [{"id": "a"}, {"id": "b"}]}))
            .await,
    );
    let answer = json!({"party": "b", "device": "phone"});
    sweep(&node, &format!("{call}/answer"), &answer).await;
}

#[tokio::test]
async fn what_is_missing_is_named_itself() {
    let node = Node::start().await;
    for (pointer, field, place) in [
        ("", "parties", "parties"),
        ("/parties/1", "id", "parties[1].id"),
        ("/facts/0", "is", "facts[0].is"),
    ] {
        let mut body = whole();
        let object = body.pointer_mut(pointer).unwrap();
        object.as_object_mut().unwrap().remove(field);
        let problem = node.post("/v1/calls", &body).await;
        let problem = problem.problem(422, "invalid-request");
        assert_eq!(
            problem["errors"],
            json!([{"path": place, "detail": "is missing"}])
        );
    }
}

/// Bodies of full size, each made of many of one thing.
fn large() -> Vec<String> {
    let many = |part: &str, room: usize| {
        let count = (BODY_LIMIT - room) / (part.len() + 1);
        vec![part; count].join(",")
    };
    let parties = r#"{"parties":[{"id":"a"},{"id":"b"}]"#;
    let fields: Vec<_> = (0..6500).map(|n| format!("\"{n:05}\":1")).collect();
    vec![
        format!(r#"{{"parties":[{}]}}"#, many("{}", 20)),
        format!(r#"{{"parties":[{}]}}"#, many(r#"{"id":"a"}"#, 20)),
        format!(r#"{{"parties":[{}]}}"#, many("1", 20)),
        format!(r#"{parties},"facts":[{}]}}"#, many("{}", 60)),
        format!(r#"{parties},"facts":[{}]}}"#, many(r#"{"is":[]}"#, 60)),
        format!(
            r#"{parties},"facts":[{{"party":"a","is":[{}]}}]}}"#,
            many("1", 90)
        ),
        format!(
            r#"{{"parties":[{{"id":"a","always":[{}]}},{{"id":"b"}}]}}"#,
            many("\"\"", 60)
        ),
        format!(
            r#"{{"parties":[{{"id":"a","devices":[{}]}},{{"id":"b"}}]}}"#,
            many("\"\"", 60)
        ),
        format!(
            r#"{{"parties":[{{"id":"a","addresses":[{}]}},{{"id":"b"}}]}}"#,
            many("1", 60)
        ),
        format!("{{{}}}", fields.join(",")),
        format!(r#"{{"{}":1}}"#, "x".repeat(BODY_LIMIT - 20)),
        format!(r#"{{"parties":{}}}"#, "[".repeat(BODY_LIMIT - 20)),
        format!("{}{}", "[".repeat(100), many("[]", 200)),
    ]
}

/// What an answer to the largest body may hold: twenty faults.
const MOST: usize = 8 << 10;

#[tokio::test]
async fn a_large_body_gets_a_small_answer() {
    let node = Node::start().await;
    for body in large() {
        assert!(
            body.len() <= BODY_LIMIT && body.len() > BODY_LIMIT - 2000,
            "{}",
            body.len()
        );
        for endpoint in ["/v1/decisions", "/v1/calls"] {
            let Answer {
                status,
                body: problem,
                ..
            } = node.post_text(endpoint, &body).await;
            let start = &body[..60];
            assert!(status == 422 || status == 400, "{status} {start}");
            let size = problem.to_string().len();
            assert!(size <= MOST, "{size} bytes for {start}");
            assert!(
                problem["errors"]
                    .as_array()
                    .is_none_or(|errors| errors.len() <= 20)
            );
        }
    }
    assert_eq!(node.relay.told(), []);
}
