//! What the API says of the node itself.

use serde_json::json;
use vizard::control::offers::{Offer, Reach};

use super::harness::{Node, READ_KEY};

#[tokio::test]
async fn it_says_which_urls_clients_get_and_who_can_reach_them() {
    let node = Node::start().await;
    let shown = node.get("/v1/node").await.expect(200);
    assert_eq!(
        (&shown["ready"], &shown["draining"]),
        (&json!(true), &json!(false))
    );
    let urls = shown["urls"].as_array().expect("a list");
    let first = &urls[0];
    assert!(
        first["url"]
            .as_str()
            .is_some_and(|url| url.starts_with("turn:"))
    );
    assert!(first["reach"].is_string());
    node.switchboard().offer(&[Offer {
        url: "turn:10.0.0.5:3478?transport=udp".into(),
        reach: Reach::Network,
    }]);
    let shown = node.get("/v1/node").await.expect(200);
    let only = json!([{"url": "turn:10.0.0.5:3478?transport=udp", "reach": "network"}]);
    assert_eq!(shown["urls"], only);
    node.switchboard().offer(&[]);
    let shown = node.get("/v1/node").await.expect(200);
    assert_eq!(
        (&shown["ready"], &shown["urls"]),
        (&json!(false), &json!([]))
    );
    assert!(shown["reason"].is_string());
}

#[tokio::test]
async fn a_drained_node_takes_no_new_calls_and_keeps_those_it_has() {
    let node = Node::start().await;
    let body = json!({"parties": [{"id": "a"}, {"id": "b"}], "caller": "a"});
    let call = node.open(&body).await;
    let reader = node.request(reqwest::Method::POST, "/v1/node/drain");
    let answer = super::harness::Answer::of(reader.bearer_auth(READ_KEY)).await;
    answer.problem(403, "missing-scope");
    let drained = node.post("/v1/node/drain", &json!({})).await.expect(200);
    assert_eq!(drained["draining"], json!(true));
    node.get("/readyz").await.problem(503, "not-ready");
    node.post("/v1/calls", &body)
        .await
        .problem(503, "cannot-mask");
    let path = super::harness::path(&call);
    assert_eq!(node.get(&path).await.expect(200)["phase"], "ringing");
    let renewed = node.post(&format!("{path}/renew"), &json!({})).await;
    assert_eq!(renewed.expect(200)["phase"], "ringing");
}
