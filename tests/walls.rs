//! Which module may know which: the table of ARCHITECTURE.md, held by reading the sources.
//! (`proto` needs no line here: it is a crate of its own, without `std`.)

use std::fs;
use std::path::{Path, PathBuf};

/// A place in the sources and what may not be said there.
struct Wall {
    /// A file or folder of `src/`.
    place: &'static str,
    /// Which of our modules it may use besides itself; `None`: any.
    may_use: Option<&'static [&'static str]>,
    /// Words that must not occur in it.
    without: &'static [&'static str],
}

const fn wall(place: &'static str, may_use: &'static [&'static str]) -> Wall {
    Wall {
        place,
        may_use: Some(may_use),
        without: &[],
    }
}

/// Neither I/O nor a clock nor waiting: time is an argument.
const PURE: &[&str] = &[
    "async ",
    ".await",
    "tokio::",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::io",
    "Instant",
    "SystemTime",
    "::now()",
    "println!",
    "tracing::",
];

const WALLS: &[Wall] = &[
    wall("telemetry", &[]),
    wall("state", &[]),
    wall("config", &["telemetry", "control", "vizard_proto"]),
    wall("dataplane", &["telemetry", "vizard_proto"]),
    wall("bench", &["vizard_proto"]),
    wall("control", &["telemetry", "dataplane", "vizard_proto"]),
    Wall {
        place: "control",
        may_use: None,
        without: &[
            "UdpSocket",
            "mio::",
            "socket2::",
            "vizard_proto::stun",
            "vizard_proto::Relay",
        ],
    },
    Wall {
        place: "control/policy.rs",
        may_use: Some(&[]),
        without: PURE,
    },
    Wall {
        place: "control/policy",
        may_use: Some(&[]),
        without: PURE,
    },
    Wall {
        place: "control/calls.rs",
        may_use: Some(&["vizard_proto"]),
        without: PURE,
    },
    Wall {
        place: "control/registry.rs",
        may_use: Some(&["vizard_proto"]),
        without: PURE,
    },
    Wall {
        place: "dataplane",
        may_use: None,
        without: &["tokio::", "axum::", "async fn"],
    },
];

/// The parts of the data plane: each may know those before it, so that there is no circle.
const DATAPLANE: &[&str] = &[
    "batch",
    "beats",
    "hash",
    "clock",
    "coalesce",
    "counters",
    "lifecycle",
    "report",
    "udp",
    "listen",
    "quota",
    "rules",
    "mailbox",
    "shared",
    "stream",
    "egress",
    "carrier",
    "worker",
];

/// The rooms with `unsafe` in them. Their lint exceptions have to be named in the source as well.
const UNSAFE_ROOMS: &[&str] = &["dataplane/udp/sys.rs", "bench/sockets/mmsg.rs"];

fn sources(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(sources(&path));
        }
    }
    found
}

/// The code of a file: without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let text = text
        .split("\n#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The names that follow `prefix` in `code`.
fn named_after(prefix: &str, code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_members(group)),
            None => names.push(first_name(rest)),
        }
    }
    names
}

/// Our modules that `code` names: `crate::NAME`, `vizard::NAME`, and the core.
fn used(code: &str) -> Vec<String> {
    let mut names = named_after("crate::", code);
    names.extend(named_after("vizard::", code));
    if code.contains("vizard_proto") {
        names.push("vizard_proto".into());
    }
    names
}

/// The first names of the members of `{a::b, c::{d, e}}`, its opening brace left out.
fn group_members(group: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let mut names = Vec::new();
    let mut at_start = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                names.push(first_name(&group[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn first_name(path: &str) -> String {
    path.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// What in `text`, a file of `wall.place`, is on the wrong side of the wall.
fn trespasses(wall: &Wall, text: &str) -> Vec<String> {
    let code = code(text);
    let home = wall.place.split('/').next().unwrap_or_default();
    let mut found: Vec<String> = wall
        .without
        .iter()
        .filter(|word| code.contains(**word))
        .map(ToString::to_string)
        .collect();
    if let Some(allowed) = wall.may_use {
        let foreign = |name: &String| name != home && !allowed.contains(&name.as_str());
        found.extend(used(&code).into_iter().filter(foreign));
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn every_module_knows_only_whom_it_may() {
    let mut wrong = Vec::new();
    for wall in WALLS {
        let files = sources(&root().join(wall.place));
        assert!(
            !files.is_empty(),
            "src/{} is gone: the wall around it has to move",
            wall.place
        );
        for file in files {
            let text = fs::read_to_string(&file).expect("a readable source");
            wrong.extend(trespasses(wall, &text).into_iter().map(|what| {
                format!(
                    "{} has `{what}`, which {} must not use",
                    file.display(),
                    wall.place
                )
            }));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a part of the data plane knows though it comes before it, or is not a part at all.
fn out_of_order(part: &str, is_top: bool, text: &str) -> Vec<String> {
    let code = code(text);
    let place = DATAPLANE.iter().position(|name| *name == part);
    let before = &DATAPLANE[..place.unwrap_or_default()];
    let mut names = named_after("crate::dataplane::", &code);
    if is_top {
        names.extend(named_after("super::", &code));
    }
    names.retain(|name| name != part && !before.contains(&name.as_str()));
    names
}

#[test]
fn the_data_plane_has_no_circle() {
    let folder = root().join("dataplane");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for file in sources(&folder) {
        let inner = file.strip_prefix(&folder).expect("a file in it");
        let mut names = inner.iter().filter_map(|name| name.to_str());
        let first = names.next().expect("a name").trim_end_matches(".rs");
        let is_top = inner
            .parent()
            .is_none_or(|it| it.components().next().is_none())
            || inner.ends_with("mod.rs");
        if first == "mod" {
            continue;
        }
        assert!(
            DATAPLANE.contains(&first),
            "{first} has no place in the order"
        );
        seen += usize::from(is_top);
        let text = fs::read_to_string(&file).expect("a readable source");
        wrong.extend(
            out_of_order(first, is_top, &text)
                .into_iter()
                .map(|name| format!("{} knows {name}", file.display())),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, DATAPLANE.len(), "every part is there once");
    assert_eq!(
        out_of_order("quota", true, "use super::worker::Worker;"),
        ["worker"]
    );
    assert_eq!(
        out_of_order("worker", true, "use super::quota::Quota;"),
        [""; 0]
    );
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    for file in sources(&root()) {
        let text = code(&fs::read_to_string(&file).expect("a readable source"));
        let inside = UNSAFE_ROOMS.iter().any(|room| file == root().join(room));
        let has =
            text.contains("unsafe {") || text.contains("unsafe fn") || text.contains("unsafe impl");
        assert!(inside || !has, "unsafe code in {}", file.display());
    }
}

#[test]
fn files_stay_short() {
    for (folder, most) in [
        ("src", 500),
        ("proto/src", 500),
        ("testkit/src", 600),
        ("tests", 800),
        ("proto/tests", 800),
    ] {
        for file in sources(&root().join("..").join(folder)) {
            let text = fs::read_to_string(&file).expect("a readable source");
            let lines = text.lines().count();
            assert!(
                lines <= most,
                "{} has {lines} lines: split it",
                file.display()
            );
        }
    }
}

/// Cargo does not look for tests by itself here: a file that nothing names would never run.
#[test]
fn every_file_of_tests_is_run() {
    let top = root().join("..");
    for folder in ["tests", "proto/tests"] {
        let manifest = top.join(folder).join("../Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("a manifest");
        let modules = fs::read_to_string(top.join(folder).join("it.rs")).expect("its root");
        for entry in fs::read_dir(top.join(folder)).expect("a folder").flatten() {
            let path = entry.path();
            let is_code = path.extension().is_some_and(|it| it == "rs");
            if !is_code && !path.join("mod.rs").exists() {
                continue;
            }
            let name = path.file_stem().and_then(|it| it.to_str()).expect("UTF-8");
            let is_named = manifest.contains(&format!("[[test]]\nname = \"{name}\""))
                || modules.contains(&format!("\nmod {name};"));
            assert!(is_named, "{folder}/{name} is in no test program");
        }
    }
}

#[test]
fn the_walls_can_be_seen_to_hold() {
    let telemetry = wall("telemetry", &[]);
    assert_eq!(
        trespasses(&telemetry, "use crate::telemetry::log;\nuse std::fmt;"),
        [""; 0]
    );
    assert_eq!(
        trespasses(&telemetry, "use crate::config::Config;"),
        ["config"]
    );
    assert_eq!(
        trespasses(
            &telemetry,
            "use crate::{\n    state::open, telemetry::{log, redact},\n};"
        ),
        ["state"]
    );
    assert_eq!(
        trespasses(
            &telemetry,
            "fn f() { vizard_proto::time::Timestamp::ZERO; }"
        ),
        ["vizard_proto"]
    );
    assert_eq!(
        trespasses(&telemetry, "// use crate::config::Config;\n"),
        [""; 0]
    );
    let pure = Wall {
        place: "control/policy.rs",
        may_use: Some(&[]),
        without: PURE,
    };
    assert_eq!(
        trespasses(&pure, "let t = std::time::Instant::now();"),
        ["Instant", "::now()"]
    );
    assert_eq!(
        trespasses(&pure, "use crate::dataplane::Handle;"),
        ["dataplane"]
    );
    assert_eq!(
        trespasses(
            &pure,
            "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}"
        ),
        [""; 0]
    );
}
