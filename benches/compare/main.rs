//! `make bench`: vizard, coturn and a bare forwarder side by side, in one run.
//!
//! Each server runs alone on one core in a namespace of its own; the generator has the other core
//! and the other end of the cable. Every case is measured in turn for each server, round by round,
//! and the table has the medians and the ratios of what is compared. With `--quick` everything runs
//! for a moment only, to see that it does.
//!
//! What is measured is the CPU time of the server's threads, so that a busy machine disturbs less;
//! it still does, so compare ratios of one run only.
//!
//! Options: `--rounds N` (3), `--length 3s` of each round, `--case NAME` for cases whose name begins
//! so, `--set 'KEY = VALUE'` for vizard's configuration, `--out FOLDER` for the reports.

mod cases;
mod forwarder;
mod network;
mod servers;
mod table;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use cases::{CASES, Case, Sample};
use network::Network;
use servers::Server;

/// What was asked for.
struct Options {
    quick: bool,
    rounds: usize,
    length: String,
    only: Option<String>,
    settings: String,
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [forward, address] if forward == "--forward" => forwarder::run(address),
        _ => Options::read(&arguments).and_then(|options| compare(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn read(arguments: &[String]) -> io::Result<Self> {
        let mut options = Self {
            quick: false,
            rounds: 3,
            length: "3s".into(),
            only: None,
            settings: String::new(),
            out: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/compare"),
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || io::Error::other(format!("{argument} needs a value"));
                arguments.next().cloned().ok_or_else(missing)
            };
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--rounds" => options.rounds = value()?.parse().map_err(io::Error::other)?,
                "--length" => options.length = value()?,
                "--case" => options.only = Some(value()?),
                "--set" => options.settings += &(value()? + "\n"),
                "--out" => options.out = value()?.into(),
                // What cargo and the other benches are told.
                "--bench" | "--noplot" => {}
                other => return Err(io::Error::other(format!("{other} is not known here"))),
            }
        }
        if options.quick {
            options.rounds = 1;
            options.length = "200ms".into();
        }
        Ok(options)
    }
}

fn compare(options: &Options) -> io::Result<()> {
    if let Some(missing) = what_is_missing() {
        if options.quick {
            println!("comparison NOT run: {missing}");
            return Ok(());
        }
        return Err(io::Error::other(missing));
    }
    std::fs::create_dir_all(&options.out)?;
    let network = Network::new()?;
    let wanted = |case: &&Case| {
        options
            .only
            .as_ref()
            .is_none_or(|word| case.name.starts_with(word.as_str()))
    };
    let mut samples = Vec::new();
    for case in CASES.iter().filter(wanted) {
        for round in 0..options.rounds {
            for run in case.runs {
                let folder = options.out.join("run");
                let settings = format!("{}\n{}", run.settings, options.settings);
                let server = Server::start(run.kind, &network, &folder, &settings)?;
                let sample = Sample::take(case, run, &server, &network, options)?;
                eprintln!("{}, round {}: {}", case.name, round + 1, sample.line());
                samples.push(sample);
            }
        }
    }
    let table = table::table(&samples);
    std::fs::write(options.out.join("table.md"), &table)?;
    println!("{table}");
    let wrong: u64 = samples.iter().map(|sample| sample.wrong).sum();
    if wrong > 0 {
        return Err(io::Error::other(format!(
            "{wrong} packets went where they should not"
        )));
    }
    Ok(())
}

/// Why there is nothing to compare.
fn what_is_missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("namespaces need root");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return Some("server and generator need a core each");
    }
    let there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    if !["ip", "taskset", "setpriv"].into_iter().all(there) {
        return Some(
            "`ip`, `taskset` and `setpriv` are needed: apt-get install iproute2 util-linux",
        );
    }
    (!there("turnserver")).then_some("coturn is needed: apt-get install coturn")
}
