//! A `vizard serve` of its own for a test: ports that the system chooses, a state directory that
//! goes when the test is over.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use tempfile::TempDir;

/// A configuration that disturbs nobody.
pub(crate) const QUIET: &str = "[relay]\nudp = [\"127.0.0.1:0\"]\ntcp = [\"127.0.0.1:0\"]\nworkers = 1\n\
                         [control]\nlisten = \"127.0.0.1:0\"\n";

/// The command, with an environment of its own.
pub(crate) fn vizard(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vizard"));
    command
        .env_clear()
        .env("VIZARD_STATE_DIR", state)
        .stdin(Stdio::null());
    command
}

/// What the command said, and its exit code.
pub(crate) fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A running node.
pub(crate) struct Node {
    pub(crate) folder: TempDir,
    pub(crate) welcome: Vec<String>,
    process: Child,
    log: BufReader<ChildStderr>,
}

impl Node {
    /// A node with the configuration `config`.
    pub(crate) fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(folder.path().join("vizard.toml"), config).expect("written");
        let mut process = vizard(&folder.path().join("state"))
            .args(["serve", "--config"])
            .arg(folder.path().join("vizard.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        let log = BufReader::new(process.stderr.take().expect("piped"));
        let welcome = stdout.lines().map_while(Result::ok).take(5).collect();
        Self {
            folder,
            welcome,
            process,
            log,
        }
    }

    /// The file with its configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("vizard.toml")
    }

    /// Its state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The URL of its API, as it says itself.
    pub(crate) fn api(&self) -> &str {
        let line = self.welcome.first().expect("a first line");
        line.split("API ").nth(1).expect("the API's place")
    }

    /// `vizard call ARGUMENTS` against this node.
    pub(crate) fn call(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = vizard(&self.state());
        command
            .arg("call")
            .args(arguments)
            .args(["--api", self.api()]);
        said(&command.output().expect("run"))
    }

    /// Reads log lines until one has `word` in it; that line.
    pub(crate) fn logged(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).expect("readable");
            assert_ne!(read, 0, "the log ended without `{word}`");
            if line.contains(word) {
                return line;
            }
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = nix::unistd::Pid::from_raw(self.process.id().cast_signed());
        nix::sys::signal::kill(id, signal).expect("sent");
    }

    /// Tells it to stop; its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.process.wait().expect("ended").code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A test that failed leaves it running.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
