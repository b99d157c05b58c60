//! `config.example.toml` is documentation: it says what the code does, of every key.

use std::collections::BTreeSet;
use vizard::config::Config;

const EXAMPLE: &str = include_str!("../config.example.toml");

/// The keys of a document as `section.key`, by its lines.
fn keys_in(text: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut keys = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ") {
            assert!(
                keys.insert(format!("{section}.{key}")),
                "{key} stands there twice"
            );
        }
    }
    keys
}

#[test]
fn the_example_is_the_default() {
    let example = Config::parse("config.example.toml", EXAMPLE).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(example, Config::default());
}

#[test]
fn the_example_has_every_key() {
    let served: BTreeSet<String> = Config::keys().into_iter().collect();
    assert!(served.len() > 30);
    assert_eq!(keys_in(EXAMPLE), served);
}

#[test]
fn every_key_of_the_example_has_a_sentence() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    for pair in lines
        .windows(2)
        .filter(|pair| pair[1].contains(" = ") && !pair[1].starts_with('#'))
    {
        assert!(
            pair[0].starts_with("# ") && pair[0].ends_with('.'),
            "no sentence over {}",
            pair[1]
        );
    }
}

#[test]
fn the_effective_configuration_reads_back() {
    let text = Config::default().to_toml();
    assert_eq!(
        Config::parse("effective", &text).unwrap_or_else(|e| panic!("{e}")),
        Config::default()
    );
    assert_eq!(keys_in(&text), keys_in(EXAMPLE));
}
