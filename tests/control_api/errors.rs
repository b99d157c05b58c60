//! Everything that can be wrong with a request.

use reqwest::{Method, header};
use serde_json::{Value, json};
use vizard::control::api::BODY_LIMIT;

use super::harness::{Answer, CALLS_KEY, KEY, Node, READ_KEY, path};

fn body() -> Value {
    json!({"parties": [{"id": "a"}, {"id": "b"}]})
}

#[tokio::test]
async fn every_path_needs_a_key_but_health_metrics_and_the_description() {
    let node = Node::start().await;
    for open in ["/livez", "/readyz", "/metrics", "/openapi.json"] {
        Answer::of(node.request(Method::GET, open))
            .await
            .expect(200);
    }
    let call = path(&node.open(&body()).await);
    let answer = format!("{call}/answer");
    let operations = [
        (Method::POST, "/v1/decisions"),
        (Method::POST, "/v1/calls"),
        (Method::GET, "/v1/calls"),
        (Method::GET, &call),
        (Method::POST, &answer),
        (Method::DELETE, &call),
    ];
    let wrong = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer none",
        &format!("Basic {KEY}"),
        KEY,
    ];
    for (method, path) in operations {
        let request = || node.request(method.clone(), path).json(&body());
        Answer::of(request()).await.problem(401, "unauthorized");
        for wrong in wrong {
            let answer = Answer::of(request().header(header::AUTHORIZATION, wrong)).await;
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            answer.problem(401, "unauthorized");
        }
    }
    let lower = node
        .request(Method::GET, &call)
        .header("authorization", format!("bearer {KEY}"));
    Answer::of(lower).await.expect(200);
}

#[tokio::test]
async fn scopes_say_what_a_key_is_good_for() {
    let node = Node::start().await;
    let call = path(&node.open(&body()).await);
    let ask = async |key: &str, method: Method, path: &str, body: Value| {
        Answer::of(node.request(method, path).bearer_auth(key).json(&body)).await
    };
    for key in [CALLS_KEY, READ_KEY] {
        ask(key, Method::GET, "/v1/calls", json!(null))
            .await
            .expect(200);
        ask(key, Method::GET, &call, json!(null)).await.expect(200);
        ask(key, Method::POST, "/v1/decisions", body())
            .await
            .expect(200);
    }
    let answer = format!("{call}/answer");
    let refused = [
        (Method::POST, "/v1/calls"),
        (Method::DELETE, &call),
        (Method::POST, &answer),
    ];
    for (method, path) in refused {
        ask(READ_KEY, method, path, body())
            .await
            .problem(403, "missing-scope");
    }
    ask(CALLS_KEY, Method::POST, "/v1/calls", body())
        .await
        .expect(201);
    ask(CALLS_KEY, Method::POST, &answer, json!({"party": "a"}))
        .await
        .expect(200);
    ask(CALLS_KEY, Method::DELETE, &call, json!(null))
        .await
        .expect(200);
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist() {
    let node = Node::start().await;
    for missing in [
        "/",
        "/v1",
        "/v1/call",
        "/v1/calls/",
        "/v1/calls/x/mask",
        "/metrics/x",
    ] {
        node.get(missing).await.problem(404, "not-found");
    }
    for id in [
        "x",
        "%00",
        "01890000-0000-7000-8000-00000000000Z",
        "..%2f..%2fmetrics",
    ] {
        node.get(&format!("/v1/calls/{id}"))
            .await
            .problem(404, "call-not-found");
    }
    let call = path(&node.open(&body()).await);
    let upper = format!("/v1/calls/{}", call["/v1/calls/".len()..].to_uppercase());
    node.get(&upper).await.problem(404, "call-not-found");
    let put = Answer::of(node.request(Method::PUT, "/v1/calls").bearer_auth(KEY)).await;
    let mut allowed: Vec<_> = put.headers["allow"].to_str().unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    put.problem(405, "method-not-allowed");
    node.get("/v1/decisions")
        .await
        .problem(405, "method-not-allowed");
    node.delete("/livez")
        .await
        .problem(405, "method-not-allowed");
}

#[tokio::test]
async fn a_body_must_be_declared_and_be_json() {
    let node = Node::start().await;
    for path in ["/v1/calls", "/v1/decisions"] {
        for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
            let request = node.request(Method::POST, path).bearer_auth(KEY);
            let request = request
                .header(header::CONTENT_TYPE, kind)
                .body(body().to_string());
            Answer::of(request)
                .await
                .problem(415, "unsupported-media-type");
        }
        let request = node
            .request(Method::POST, path)
            .bearer_auth(KEY)
            .body(body().to_string());
        Answer::of(request)
            .await
            .problem(415, "unsupported-media-type");
        let deep = "[".repeat(60_000);
        for text in [
            "",
            &deep,
            "{",
            "{\"parties\":[}",
            "{\"parties\":[]} {}",
            "\u{feff}{}",
            "{'parties':[]}",
            "nul",
        ] {
            node.post_text(path, text)
                .await
                .problem(400, "invalid-json");
        }
    }
    let request = node.request(Method::POST, "/v1/decisions").bearer_auth(KEY);
    let kind = "Application/JSON; charset=utf-8";
    Answer::of(
        request
            .header(header::CONTENT_TYPE, kind)
            .body(body().to_string()),
    )
    .await
    .expect(200);
}

#[tokio::test]
async fn a_body_has_a_size() {
    let node = Node::start().await;
    let padded = |len: usize| {
        let text = body().to_string();
        format!("{}{text}", " ".repeat(len - text.len()))
    };
    node.post_text("/v1/decisions", &padded(BODY_LIMIT))
        .await
        .expect(200);
    for len in [BODY_LIMIT + 1, 3 * BODY_LIMIT, 2 << 20] {
        node.post_text("/v1/decisions", &padded(len))
            .await
            .problem(413, "body-too-large");
    }
}

#[tokio::test]
async fn unknown_fields_are_named() {
    let node = Node::start().await;
    let cases = [
        (
            json!({"parties": [{"id": "a"}, {"id": "b"}], "Caller": "a"}),
            "Caller",
        ),
        (
            json!({"parties": [{"id": "a", "reveal": "nobody"}, {"id": "b"}]}),
            "parties[0].reveal",
        ),
        (
            json!({"parties": [{"id": "a"}, {"id": "b"}], "facts": [{"from": "a", "t": "b", "is": []}]}),
            "facts[0].t",
        ),
        (
            json!({"parties": [{"id": "a"}, {"id": "b"}], "limits": {"kbits": 1}}),
            "limits.kbits",
        ),
    ];
    for (body, path) in cases {
        for endpoint in ["/v1/calls", "/v1/decisions"] {
            assert_eq!(node.post(endpoint, &body).await.faults(), [path]);
        }
    }
    let call = path(&node.open(&body()).await);
    let answer = json!({"party": "a", "devise": "phone"});
    assert_eq!(
        node.post(&format!("{call}/answer"), &answer).await.faults(),
        ["devise"]
    );
}

#[tokio::test]
async fn what_makes_no_sense_is_named_all_at_once() {
    let node = Node::start().await;
    let cases = [
        (json!({"parties": [{"id": "a"}]}), vec!["parties"]),
        (
            json!({"parties": [{"id": "a"}, {"id": "a"}]}),
            vec!["parties[1].id"],
        ),
        (
            json!({"parties": [{"id": ""}, {"id": "b\n"}]}),
            vec!["parties[0].id", "parties[1].id"],
        ),
        (
            json!({"parties": [{"id": "é".repeat(129)}, {"id": "b"}], "limits": {"kbps": 0}}),
            vec!["parties[0].id", "limits.kbps"],
        ),
        (
            json!({"parties": [{"id": "a"}, {"id": "b"}], "caller": "c"}),
            vec!["caller"],
        ),
        (
            json!({"parties": [{"id": "a", "devices": []}, {"id": "b"}]}),
            vec!["parties[0].devices"],
        ),
        (
            json!({"parties": [{"id": "a"}, {"id": "b", "devices": ["x", "x", ""]}]}),
            vec!["parties[1].devices[1]", "parties[1].devices[2]"],
        ),
        (
            json!({"parties": [{"id": "a", "devices": ["1","2","3","4","5","6","7","8","9"]}, {"id": "b"}]}),
            vec!["parties[0].devices"],
        ),
        (
            json!({"parties": [{"id": "a"}, {"id": "b"}], "facts": [
                {"from": "a", "to": "c", "is": []}, {"from": "a", "to": "a", "is": []},
                {"from": "a", "is": []}, {"party": "c", "is": []},
                {"party": "a", "from": "a", "to": "b", "is": []}]}),
            vec![
                "facts[0].to",
                "facts[1].to",
                "facts[2]",
                "facts[3].party",
                "facts[4]",
            ],
        ),
    ];
    for (body, faults) in cases {
        assert_eq!(
            node.post("/v1/calls", &body).await.faults(),
            faults,
            "{body}"
        );
        assert_eq!(
            node.post("/v1/decisions", &body).await.faults(),
            faults,
            "{body}"
        );
    }
    assert_eq!(node.relay.told(), []);
}

#[tokio::test]
async fn static_parties_are_checked_and_refused() {
    let node = Node::start().await;
    let with =
        |address: &str| json!({"parties": [{"id": "a"}, {"id": "sfu", "addresses": [address]}]});
    for address in [
        "203.0.113.9:10000-20000",
        "203.0.113.9:5000",
        "[2001:db8::9]:1-65535",
    ] {
        let problem = node.post("/v1/calls", &with(address)).await;
        let problem = problem.problem(422, "static-party-unavailable");
        assert!(!problem.to_string().contains(address));
    }
    for address in [
        "203.0.113.9",
        "203.0.113.9:",
        "203.0.113.9:0",
        "203.0.113.9:9-8",
        "203.0.113.9:1-70000",
        "2001:db8::9:5000",
        "[203.0.113.9]:5000",
        "sfu.example:5000",
        "",
        ":1",
    ] {
        let problem = node.post("/v1/calls", &with(address)).await;
        assert_eq!(problem.faults(), ["parties[1].addresses[0]"], "{address}");
    }
    let empty = json!({"parties": [{"id": "a"}, {"id": "sfu", "addresses": []}]});
    assert_eq!(
        node.post("/v1/calls", &empty).await.faults(),
        ["parties[1].addresses"]
    );
}

#[tokio::test]
async fn lists_are_asked_for_in_the_right_words() {
    let node = Node::start().await;
    for (query, fault) in [
        ("?phase=busy", "phase"),
        ("?limit=0", "limit"),
        ("?limit=501", "limit"),
        ("?limit=ten", "query"),
        ("?limit=-1", "query"),
        ("?cursor=x", "cursor"),
        ("?page=2", "query"),
        ("?phase=ringing&phase=ended", "query"),
    ] {
        assert_eq!(
            node.get(&format!("/v1/calls{query}")).await.faults(),
            [fault],
            "{query}"
        );
    }
}

#[tokio::test]
async fn answers_are_counted_by_route_and_status() {
    let node = Node::start().await;
    node.open(&body()).await;
    node.get("/v1/calls/none")
        .await
        .problem(404, "call-not-found");
    node.get("/none").await.problem(404, "not-found");
    let metrics = node.get("/metrics").await.expect(200);
    for line in [
        "vizard_http_requests_total{code=\"201\",route=\"/v1/calls\"} 1",
        "vizard_http_requests_total{code=\"404\",route=\"/v1/calls/{id}\"} 1",
        "vizard_http_requests_total{code=\"404\",route=\"other\"} 1",
        "vizard_decisions_total{route=\"masked\"} 1",
        "vizard_calls{phase=\"ringing\"} 1",
        "vizard_calls{phase=\"answered\"} 0",
    ] {
        assert!(
            metrics.as_str().unwrap().lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
}

#[tokio::test]
async fn the_description_that_is_served_is_the_committed_one() {
    let node = Node::start().await;
    let served = node.get("/openapi.json").await;
    assert_eq!(served.headers["content-type"], "application/json");
    let committed: Value = serde_json::from_str(&vizard::control::api::openapi()).unwrap();
    assert_eq!(served.expect(200), committed);
}
