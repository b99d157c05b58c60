//! What the documents name exists: every `path.rs` and every `path.rs::test`.

use std::fs;
use std::path::Path;

const DOCUMENTS: [&str; 3] = ["docs/rfc.md", "docs/threat-model.md", "ARCHITECTURE.md"];

/// What stands between backquotes, with a name of a Rust file in it.
fn references(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| word.contains('/') && word.contains(".rs") && !word.contains(' '))
        .collect()
}

/// What is wrong with a reference.
fn fault(root: &Path, reference: &str) -> Option<String> {
    let (file, test) = match reference.split_once("::") {
        Some((file, test)) => (file, Some(test)),
        None => (reference, None),
    };
    let Ok(source) = fs::read_to_string(root.join(file)) else {
        return Some(format!("{reference}: there is no such file"));
    };
    let test = test?;
    let missing = !source.contains(&format!("fn {test}("));
    missing.then(|| format!("{reference}: there is no such test"))
}

#[test]
fn what_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).expect("a document");
        let found = references(&text);
        assert!(
            document == "ARCHITECTURE.md" || found.len() > 20,
            "{document} names nothing"
        );
        let wrong = found
            .into_iter()
            .filter_map(|reference| fault(root, reference));
        faults.extend(wrong.map(|fault| format!("{document}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_wrong_reference_is_found() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(
        fault(root, "tests/docs.rs::a_wrong_reference_is_found"),
        None
    );
    assert!(fault(root, "tests/docs.rs::no_such_test").is_some());
    assert!(fault(root, "tests/no_such_file.rs").is_some());
    assert_eq!(
        references("see `a/b.rs::c` and `d` and `e/f.rs`"),
        ["a/b.rs::c", "e/f.rs"]
    );
}
