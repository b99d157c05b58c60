//! The command line: one file per subcommand.
//!
//! Exit codes: 0 done, 1 the answer is no or it failed, 2 wrong usage, 3 no node answers. What was asked for goes to
//! standard output, errors to standard error with what to do about them. Every flag has an
//! environment variable; secrets come from files or the environment, never from flags.

mod bench;
mod call;
mod check_config;
mod client;
mod drain;
mod openapi;
mod serve;

use clap::{CommandFactory, Parser, Subcommand};
use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

/// TURN relay that keeps callers' addresses from each other.
#[derive(Debug, Parser)]
#[command(name = "vizard", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Bench(Box<bench::Bench>),
    Call(call::Call),
    CheckConfig(check_config::CheckConfig),
    Drain(drain::Drain),
    Openapi(openapi::Openapi),
}

/// Why a command did not do what it was asked for, with what to do about it.
#[derive(Debug)]
struct Failure {
    message: String,
    /// The exit code.
    code: u8,
}

/// The answer is no, or it failed.
const NO: u8 = 1;
/// No node answers.
const UNREACHABLE: u8 = 3;

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            message: error.to_string(),
            code: NO,
        }
    }
}

impl Failure {
    /// No node answers.
    fn unreachable(message: String) -> Self {
        Self {
            message,
            code: UNREACHABLE,
        }
    }
}

/// Does what the arguments of this process say.
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Bench(bench) => bench.run(),
        Command::Call(call) => call.run(),
        Command::CheckConfig(check) => check.run(),
        Command::Drain(drain) => drain.run(),
        Command::Openapi(openapi::Openapi {}) => openapi::Openapi::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, code }) => {
            // If standard error can't be written either, the exit code has to do.
            let _ = writeln!(io::stderr(), "error: {message}");
            ExitCode::from(code)
        }
    }
}

/// Writes what was asked for to standard output. A reader who has had enough is no failure.
fn say(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let written = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("can't write to standard output: {error}").into())
        }
        _ => Ok(()),
    }
}

/// The command line's definition, for completions, manual pages and tests.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_argument(command: &clap::Command, found: &mut Vec<(String, clap::Arg)>) {
        let here = command
            .get_arguments()
            .filter(|a| !matches!(a.get_id().as_str(), "help" | "version"));
        found.extend(here.map(|argument| (command.get_name().to_owned(), argument.clone())));
        command
            .get_subcommands()
            .for_each(|sub| every_argument(sub, found));
    }

    #[test]
    fn the_definition_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_and_takes_no_secret() {
        let mut found = Vec::new();
        every_argument(&command(), &mut found);
        for (command, argument) in found
            .iter()
            .filter(|(_, argument)| !argument.is_positional())
        {
            let flag = argument.get_long().unwrap_or_default();
            let variable = argument
                .get_env()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            assert!(
                variable.starts_with("VIZARD_"),
                "{command} --{flag} has no variable"
            );
            let secret = ["key", "secret", "password"]
                .iter()
                .any(|word| flag.ends_with(word));
            assert!(
                !secret || flag == "idempotency-key",
                "{command} --{flag} takes a secret"
            );
        }
    }
}
