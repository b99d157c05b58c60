//! `vizard bench` against a vizard, against another TURN server, and through a wire that does to
//! its packets what it must be able to count.
mod turn_server;
mod wire;

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, LOOPBACK};
use nix::sys::signal::Signal;
use serde_json::Value;

/// What a run of `vizard bench` left.
struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Outcome {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// The report; the run has to have gone well.
    fn report(&self) -> Value {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""));
        serde_json::from_str(&self.out).expect("JSON")
    }
}

/// `vizard bench ARGUMENTS` against the daemon's calls, through its first UDP listener.
fn bench(daemon: &Daemon, arguments: &str) -> Outcome {
    let udp = format!("turn:{}?transport=udp", daemon.udp(0));
    let all = format!("bench --relay {udp} --warm-up 0s {arguments}");
    Outcome::of(&daemon.run(&all.split(' ').collect::<Vec<_>>()))
}

/// `vizard bench ARGUMENTS` with nothing else.
fn bench_alone(arguments: &str, environment: &[(&str, &str)]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vizard"));
    command.arg("bench").args(arguments.split(' ')).env_clear();
    command
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    Outcome::of(&command.output().expect("run"))
}

fn counts(report: &Value, server: usize) -> Value {
    report["servers"][server]["summary"]["counts"].clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

/// Everything that was sent arrived once, in order, where it should.
fn assert_clean(report: &Value, server: usize) {
    let counts = counts(report, server);
    assert!(number(&counts["sent"]) > 100, "{counts}");
    assert_eq!(counts["sent"], counts["received"], "{counts}");
    for never in [
        "duplicates",
        "reordered",
        "late",
        "misdelivered",
        "wrong_source",
        "damaged",
    ] {
        assert_eq!(counts[never], 0, "{counts}");
    }
}

#[test]
fn calls_of_a_vizard_in_every_form() {
    let daemon = Daemon::start(LOOPBACK);
    let pid = daemon.pid();
    let tcp = format!("--relay turn:{}?transport=tcp", daemon.tcp(0));
    for arguments in [
        format!("--pairs 6 --rate 1500 --duration 300ms --pid {pid}"),
        "--pairs 5 --pairs-per-call 3 --rate 900 --duration 300ms --form indication".into(),
        "--pairs 3 --shape video --duration 300ms --threads 2".into(),
        "--pairs 2 --saturate --window 8 --duration 100ms".into(),
    ] {
        let report = bench(&daemon, &format!("{arguments} --json")).report();
        assert_clean(&report, 0);
    }
    for form in ["channel", "indication"] {
        let arguments = format!(
            "bench --api http://{} {tcp} --pairs 3 --rate 600 --warm-up 0s \
            --duration 300ms --form {form} --json",
            daemon.http().api
        );
        let output = daemon.run(&arguments.split_whitespace().collect::<Vec<_>>());
        assert_clean(&Outcome::of(&output).report(), 0);
    }
    let calls = daemon.ask("GET", "/v1/calls?phase=ringing", &Value::Null, 200);
    assert_eq!(
        calls["calls"],
        serde_json::json!([]),
        "the generator ends its calls"
    );
}

#[test]
fn the_server_s_price_is_told_by_its_process() {
    let daemon = Daemon::start(LOOPBACK);
    let pid = daemon.pid();
    let told = bench(&daemon, &format!("--pairs 4 --duration 300ms --pid {pid}"));
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    for word in [
        "us CPU a packet",
        "calls a core",
        "core-hours",
        "B of memory each",
    ] {
        assert!(told.out.contains(word), "{word}: {}", told.out);
    }
    let last = told.out.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("vizard: ") && last.contains("% lost"),
        "{last}"
    );
}

#[test]
fn a_search_and_allocations() {
    let daemon = Daemon::start(LOOPBACK);
    let report = bench(&daemon, "--pairs 2 --search --duration 50ms --json").report();
    let server = &report["servers"][0];
    let tries = server["search"].as_array().expect("tries");
    let good = tries.iter().filter(|attempt| attempt["good"] == true);
    let best = good
        .filter_map(|attempt| attempt["rate"].as_f64())
        .reduce(f64::max);
    assert_eq!(server["highest_rate"].as_f64(), best);

    let report = bench(&daemon, "--pairs 8 --allocations --duration 100ms --json").report();
    let round = &report["servers"][0]["allocating"][0];
    assert!(number(&round["allocations"]) >= 16, "{round}");
    assert_eq!(number(&round["allocations"]) % 16, 0, "{round}");
}

#[test]
fn two_servers_in_turn_with_their_ratios() {
    let (one, other) = (Daemon::start(LOOPBACK), Daemon::start(LOOPBACK));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let key = folder.path().join("key");
    std::fs::write(&key, other.api_key()).expect("written");
    let page = folder.path().join("report.html");
    let vs = format!(
        "--pairs 3 --rate 600 --duration 200ms --rounds 3 --json --html {} --pid {} \
         --vs http://{} --vs-api-key-file {} --vs-pid {}",
        page.display(),
        one.pid(),
        other.http().api,
        key.display(),
        other.pid()
    );
    let arguments = format!("bench --warm-up 0s {vs}");
    let outcome = Outcome::of(&one.run(&arguments.split_whitespace().collect::<Vec<_>>()));
    let report = outcome.report();
    for server in 0..2 {
        assert_clean(&report, server);
        assert_eq!(
            report["servers"][server]["rounds"].as_array().map(Vec::len),
            Some(3)
        );
    }
    let ratio = &report["comparison"]["cpu_per_packet"];
    assert!(ratio["min"].as_f64() <= ratio["median"].as_f64(), "{ratio}");
    assert!(ratio["median"].as_f64() > Some(0.0), "{ratio}");
    let page = std::fs::read_to_string(page).expect("written");
    assert!(page.contains("<svg") && page.contains("</html>"));
    assert!(
        !page.contains("src=") && !page.contains("href="),
        "it asks for nothing else"
    );
}

#[test]
fn another_turn_server_in_every_direction() {
    let server = turn_server::start("user", "pass word");
    let udp = format!("turn:{}?transport=udp", server.address());
    for (mode, form) in [
        ("circuit", "channel"),
        ("client-to-peer", "channel"),
        ("peer-to-client", "indication"),
        ("both", "channel"),
        ("both", "indication"),
    ] {
        let arguments = format!(
            "--relay {udp} --username user --mode {mode} --form {form} --pairs 3 \
            --rate 600 --duration 300ms --warm-up 0s --json"
        );
        let outcome = bench_alone(&arguments, &[("VIZARD_PASSWORD", "pass word")]);
        assert_clean(&outcome.report(), 0);
    }
    let arguments = format!("--relay {udp} --username user --pairs 2 --duration 100ms");
    let wrong = bench_alone(&arguments, &[("VIZARD_PASSWORD", "password")]);
    assert_eq!((wrong.code, wrong.out.as_str()), (Some(1), ""));
    assert!(
        wrong.err.contains("failed") && wrong.err.lines().count() == 1,
        "{}",
        wrong.err
    );
}

#[test]
fn what_happens_on_the_wire_is_counted_exactly() {
    let daemon = Daemon::start(LOOPBACK);
    let wire = wire::Wire::start(daemon.udp(0));
    let relay = format!("turn:{}?transport=udp", wire.address());
    let arguments = format!(
        "bench --api http://{} --relay {relay} --pairs 4 --rate 2000 \
        --duration 500ms --warm-up 0s --json",
        daemon.http().api
    );
    let output = daemon.run(&arguments.split_whitespace().collect::<Vec<_>>());
    let outcome = Outcome::of(&output);
    assert_eq!(outcome.code, Some(1), "misdelivery is a failure");
    assert!(outcome.err.contains("misdelivered"), "{}", outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).expect("JSON");
    let found = counts(&report, 0);
    let done = wire.stop();
    assert!(done.dropped > 5 && done.doubled > 5 && done.swapped > 5 && done.strayed > 5);
    let lost = number(&found["sent"]) - number(&found["received"]);
    assert_eq!(
        lost,
        done.dropped + done.strayed + done.damaged,
        "{found} {done:?}"
    );
    assert_eq!(
        number(&found["duplicates"]),
        done.doubled,
        "{found} {done:?}"
    );
    assert_eq!(
        number(&found["reordered"]),
        done.swapped,
        "{found} {done:?}"
    );
    assert_eq!(
        number(&found["misdelivered"]),
        done.strayed,
        "{found} {done:?}"
    );
    assert_eq!(number(&found["damaged"]), done.damaged, "{found} {done:?}");
}

#[test]
fn a_server_that_dies_leaves_what_was_measured() {
    let mut daemon = Daemon::start(LOOPBACK);
    let udp = format!("turn:{}?transport=udp", daemon.udp(0));
    let mut command = daemon.command(&["bench", "--warm-up", "0s", "--pairs", "3"]);
    command.args([
        "--api",
        &format!("http://{}", daemon.http().api),
        "--relay",
        &udp,
    ]);
    command.args(["--duration", "60s", "--json"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("started");
    // It carries media by now: that is what is to be kept.
    crate::daemon::wait_until("packets flow", || {
        daemon.metric("vizard_packets_forwarded_total") > 50
    });
    daemon.kill();
    let start = Instant::now();
    let outcome = Outcome::of(&child.wait_with_output().expect("ours"));
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "it does not go on to its end"
    );
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("fell silent after"), "{}", outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert!(number(&counts(&report, 0)["received"]) > 20);
    assert_eq!(report["servers"][0]["rounds"][0]["cut_short"], true);
    assert!(
        report["fault"]
            .as_str()
            .is_some_and(|fault| fault.contains("silent"))
    );
}

#[test]
fn an_interrupt_ends_the_run_and_keeps_what_was_measured() {
    let daemon = Daemon::start(LOOPBACK);
    let udp = format!("turn:{}?transport=udp", daemon.udp(0));
    let mut command = daemon.command(&["bench", "--warm-up", "0s", "--pairs", "3"]);
    command.args([
        "--api",
        &format!("http://{}", daemon.http().api),
        "--relay",
        &udp,
    ]);
    command.args(["--duration", "60s", "--json"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("started");
    crate::daemon::wait_until("packets flow", || {
        daemon.metric("vizard_packets_forwarded_total") > 50
    });
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGINT).expect("sent");
    let outcome = Outcome::of(&child.wait_with_output().expect("ours"));
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("interrupted"), "{}", outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert!(number(&counts(&report, 0)["received"]) > 20);
    let calls = daemon.ask("GET", "/v1/calls?phase=ringing", &Value::Null, 200);
    assert_eq!(
        calls["calls"],
        serde_json::json!([]),
        "the calls are ended all the same"
    );
}

#[test]
fn what_can_t_be_measured_is_one_clear_line() {
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let closed = closed.expect("bound");
    let secret = [("VIZARD_REST_SECRET", "s")];
    for (arguments, code, said) in [
        (
            format!("--relay turn:{closed}?transport=udp"),
            1,
            "nobody listens",
        ),
        (
            format!("--relay turn:{closed}?transport=tcp"),
            1,
            "nobody listens",
        ),
        (
            format!("--relay turn:{closed} --pid 4000000000"),
            1,
            "no process",
        ),
        (format!("--relay turns:{closed}"), 2, "turns"),
        (format!("--relay turn:{closed} --size 8"), 2, "--size"),
        (format!("--api http://{closed}"), 1, "no vizard answers"),
    ] {
        let key = [("VIZARD_API_KEY", "k"), secret[0]];
        let outcome = bench_alone(&arguments, &key);
        assert_eq!(outcome.code, Some(code), "{arguments}: {}", outcome.err);
        assert!(outcome.err.contains(said), "{arguments}: {}", outcome.err);
        assert_eq!(outcome.out, "");
    }
    let outcome = bench_alone(&format!("--relay turn:{closed}"), &[]);
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.err.contains("--rest-secret-file"),
        "{}",
        outcome.err
    );
}

#[test]
fn too_few_descriptors_are_told_with_the_command() {
    let server = turn_server::start("user", "pass");
    let udp = format!("turn:{}?transport=udp", server.address());
    let binary = env!("CARGO_BIN_EXE_vizard");
    let script =
        format!("ulimit -n 100; exec {binary} bench --relay {udp} --username user --pairs 90");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).env("VIZARD_PASSWORD", "pass");
    let outcome = Outcome::of(&command.output().expect("run"));
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("ulimit -n 244"), "{}", outcome.err);
}
