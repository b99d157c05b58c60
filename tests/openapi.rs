//! The committed description of the API is the one that the code has.

use std::fs;
use std::path::Path;

#[test]
fn the_committed_document_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh = vizard::control::api::openapi();
    let committed = fs::read_to_string(root.join("docs/openapi.json")).unwrap_or_default();
    if committed != fresh {
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi.json");
        fs::write(&copy, fresh).unwrap();
        panic!(
            "docs/openapi.json is stale; the fresh one is in {}",
            copy.display()
        );
    }
}

#[test]
fn every_operation_is_there_with_its_answers() {
    let document: serde_json::Value =
        serde_json::from_str(&vizard::control::api::openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let operations = [
        ("/v1/decisions", "post", "200"),
        ("/v1/calls", "post", "201"),
        ("/v1/calls", "get", "200"),
        ("/v1/calls/{id}", "get", "200"),
        ("/v1/calls/{id}", "delete", "200"),
        ("/v1/calls/{id}/answer", "post", "200"),
        ("/livez", "get", "200"),
        ("/readyz", "get", "503"),
        ("/v1/node", "get", "200"),
        ("/v1/node/drain", "post", "200"),
        ("/metrics", "get", "200"),
        ("/openapi.json", "get", "200"),
    ];
    for (path, method, status) in operations {
        let operation = &document["paths"][path][method];
        assert!(
            operation["responses"][status].is_object(),
            "{method} {path} {status}"
        );
        let open = operation["security"].as_array().is_some();
        assert_eq!(open, !path.starts_with("/v1/"), "{path}");
    }
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(
        paths
            .values()
            .map(|path| path.as_object().unwrap().len())
            .sum::<usize>(),
        13
    );
}
