//! A wrong configuration is refused with the place, the line and a way out; never ignored.

use vizard::config::Config;

fn error(text: &str) -> String {
    Config::parse("v.toml", text).expect_err(text).to_string()
}

#[test]
fn a_wrong_value_is_shown_with_its_place_and_what_the_key_takes() {
    let expected = "v.toml:3:11: `relay.workers`: invalid type: string \"many\", expected usize\n  |\n\
                    3 | workers = \"many\"\n  |           ^^^^^^\n  \
                    help: it takes a number of threads, 0 to 256";
    assert_eq!(error("# mine\n[relay]\nworkers = \"many\"\n"), expected);
}

#[test]
fn all_mistakes_are_shown_at_once() {
    let text = "[relay]\nrelm = \"x\"\nudp = [\"nowhere\"]\n[lmits]\n[log]\nlevel = \"loud\"\n";
    let shown = error(text);
    assert!(
        shown.contains("v.toml:2:1: unknown key `relm` in [relay]"),
        "{shown}"
    );
    assert!(shown.contains("did you mean `realm`?"), "{shown}");
    assert!(
        shown.contains("v.toml:3:8: `relay.udp`: invalid socket address"),
        "{shown}"
    );
    assert!(
        shown.contains("v.toml:4:2: unknown section or key `lmits`"),
        "{shown}"
    );
    assert!(shown.contains("did you mean `limits`?"), "{shown}");
    assert!(
        shown.contains("v.toml:6:9: `log.level`: unknown variant `loud`"),
        "{shown}"
    );
    assert_eq!(Config::parse("v.toml", text).expect_err("wrong").count(), 4);
}

#[test]
fn values_out_of_range_and_contradictions_are_refused() {
    for (text, place) in [
        ("[relay]\nrealm = \"\"\n", "v.toml:2:9: `relay.realm`"),
        (
            "[relay]\nudp = []\ntcp = []\n",
            "v.toml:2:7: `relay.udp`: no listener",
        ),
        (
            "[relay]\nudp = [\"0.0.0.0:1\", \"0.0.0.0:1\"]\n",
            "v.toml:2:7: `relay.udp`",
        ),
        (
            "[relay]\nhost_name = \"a b\"\n",
            "v.toml:2:13: `relay.host_name`",
        ),
        (
            "[relay]\npublic_addresses = [\"0.0.0.0\"]\n",
            "v.toml:2:20: `relay.public_addresses`",
        ),
        (
            "[relay]\nudp = [\"0.0.0.0:3478\"]\ntcp = []\npublic_addresses = [\"2001:db8::6\"]\n",
            "v.toml:4:20: `relay.public_addresses`: nothing listens for 2001:db8::6",
        ),
        (
            "[masking]\npool_v4 = \"\"\npool_v6 = \"\"\n",
            "v.toml:2:11: `masking.pool_v4`: both",
        ),
        (
            "[masking]\npool_v4 = \"10.0.0.0/30\"\n",
            "v.toml:2:11: `masking.pool_v4`",
        ),
        (
            "[masking]\nmapped_address_v4 = \"198.18.0.1\"\n",
            "v.toml:2:21: `masking.mapped_address_v4`: lies",
        ),
        (
            "[masking]\nmapped_address_v4 = \"0.0.0.0\"\n",
            "v.toml:2:21: `masking.mapped_address_v4`",
        ),
        (
            "[policy]\nticket_ttl = \"1s\"\n",
            "v.toml:2:14: `policy.ticket_ttl`",
        ),
        (
            "[policy]\ndefault_reveal = \"Nobody\"\n",
            "v.toml:2:18: `policy.default_reveal`",
        ),
        (
            "[control]\nlisten = \"8080\"\n",
            "v.toml:2:10: `control.listen`",
        ),
        ("[limits]\ncalls = -1\n", "v.toml:2:9: `limits.calls`"),
        ("relay = 1\n", "v.toml:1:9: `relay` is a section"),
    ] {
        assert!(error(text).starts_with(place), "{text}{}", error(text));
    }
}

#[test]
fn syntax_errors_are_shown_with_their_place() {
    let shown = error("[relay]\nrealm = vizard\n");
    assert!(shown.starts_with("v.toml:2:9: not TOML: "), "{shown}");
    assert!(
        shown.contains("2 | realm = vizard\n  |         ^^^^^^"),
        "{shown}"
    );
    assert!(error("[relay\n").starts_with("v.toml:1:"));
    assert!(error("[relay]\n[relay]\n").contains("duplicate key"));
}

#[test]
fn what_this_version_does_not_do_is_refused_unless_it_asks_for_nothing() {
    for text in [
        "[relay]\ntls = [\"0.0.0.0:5349\"]\n",
        "[relay]\ndtls = [\"0.0.0.0:5349\"]\n",
        "[open]\nenabled = true\n",
        "[open]\nrest_secrets = [\"hunter2\"]\n",
        "[tls]\ncertificate = \"/etc/cert.pem\"\n",
        "[store]\nurl = \"redis://127.0.0.1\"\n",
        "[log]\nraw_addresses_file = \"/tmp/raw\"\n",
        "[[control.webhooks]]\nurl = \"https://example.org\"\n",
    ] {
        let shown = error(text);
        assert!(
            shown.contains("is not available in this version"),
            "{shown}"
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let defaults = "[relay]\ntls = []\ndtls = []\n[open]\nenabled = false\nrelay_addresses = []\n\
        external_addresses = []\nrelay_ports = \"49152-65535\"\ndenied_peers = []\nallowed_peers = []\n\
        rest_secrets_file = \"\"\nrest_secrets = []\nusers_file = \"\"\nusers = []\nstrict_expiry = true\n\
        tcp_relay = false\nmobility = false\n[tls]\ncertificate = \"\"\nkey = \"\"\n[store]\nurl = \"\"\n\
        [log]\nraw_addresses_file = \"\"\n[control]\nwebhooks = []\n";
    assert_eq!(
        Config::parse("v.toml", defaults).unwrap_or_else(|e| panic!("{e}")),
        Config::default()
    );
    for coalesce in ["11ms", "100", "1s", "us", "-1us"] {
        let said = error(&format!("[relay]\ncoalesce = \"{coalesce}\"\n"));
        assert!(said.contains("up to 10ms"), "{said}");
    }
    assert!(error("[relay]\nfast_path = \"fast\"\n").contains("\"off\" or \"portable\""));
    assert!(error("[open]\nenable = true\n").contains("did you mean `enabled`?"));
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let missing = folder.path().join("none.toml");
    let shown = Config::load(&missing).expect_err("missing").to_string();
    assert!(shown.starts_with(&missing.display().to_string()), "{shown}");
    assert!(shown.contains("help: "), "{shown}");
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe]).expect("written");
    assert!(Config::load(&binary).is_err());
    assert!(Config::load(folder.path()).is_err());
}

#[test]
fn relative_paths_are_meant_from_where_the_file_lies() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("v.toml");
    std::fs::write(&file, "[control]\napi_keys_file = \"keys\"\n").expect("written");
    let config = Config::load(&file).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.control.api_keys_file, folder.path().join("keys"));
    assert_eq!(config.store.path.as_os_str(), "");
}
