//! The servers that are measured, each as a process of its own.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::network::{Network, SERVER};

const PATIENCE: Duration = Duration::from_secs(10);
const BINARY: &str = env!("CARGO_BIN_EXE_vizard");

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Vizard,
    Coturn,
    /// See `forwarder.rs`.
    Forwarder,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vizard => "vizard",
            Self::Coturn => "coturn",
            Self::Forwarder => "bare forwarder",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Vizard => 3478,
            Self::Coturn => 3479,
            Self::Forwarder => 3480,
        }
    }
}

/// A running server; it ends with this value.
pub(crate) struct Server {
    kind: Kind,
    process: Child,
    folder: PathBuf,
}

impl Server {
    /// `settings`: lines that are added to vizard's configuration.
    pub(crate) fn start(
        kind: Kind,
        network: &Network,
        folder: &Path,
        settings: &str,
    ) -> io::Result<Self> {
        let folder = folder.join(kind.name().replace(' ', "-"));
        std::fs::create_dir_all(&folder)?;
        let mut command = network.server();
        match kind {
            Kind::Vizard => vizard(&mut command, &folder, settings)?,
            Kind::Coturn => coturn(&mut command, &folder),
            Kind::Forwarder => {
                command.arg(std::env::current_exe()?).arg("--forward");
                command.arg(format!("{SERVER}:{}", kind.port()));
            }
        }
        let log = File::create(folder.join("log"))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let server = Self {
            kind,
            process: command.spawn()?,
            folder,
        };
        server.wait_until_it_listens(network)?;
        Ok(server)
    }

    fn wait_until_it_listens(&self, network: &Network) -> io::Result<()> {
        let start = Instant::now();
        while !listens(network, self.kind.port())? || !self.has_api() {
            if start.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let text = format!("{} did not start: {log}", self.kind.name());
                return Err(io::Error::other(text));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Whether its control API takes requests, if it has one.
    fn has_api(&self) -> bool {
        self.kind != Kind::Vizard || UnixStream::connect(self.folder.join("api")).is_ok()
    }

    /// `vizard bench` against it, on the generator's core.
    pub(crate) fn bench(&self, network: &Network) -> Command {
        let mut command = network.generator();
        let relay = format!("turn:{SERVER}:{}?transport=udp", self.kind.port());
        command.args([BINARY, "bench", "--json", "--pin", "1"]);
        command.args(["--pid", &self.process.id().to_string(), "--relay", &relay]);
        if self.kind == Kind::Vizard {
            command.args([
                "--api",
                &format!("unix:{}", self.folder.join("api").display()),
            ]);
            command
                .arg("--api-key-file")
                .arg(self.folder.join("state/api.key"));
        } else {
            command
                .args(["--username", "bench"])
                .env("VIZARD_PASSWORD", "bench");
        }
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn vizard(command: &mut Command, folder: &Path, settings: &str) -> io::Result<()> {
    let config = folder.join("vizard.toml");
    let api = folder.join("api");
    let text = format!(
        "relay.udp = [\"{SERVER}:3478\"]\nrelay.tcp = []\nrelay.public_addresses = [\"{SERVER}\"]\n\
         relay.workers = 1\ncontrol.listen = \"unix:{}\"\nlimits.answers_per_second = 1000000\n\
         limits.answers_burst = 1000000\nlimits.calls = 1000000\n{settings}\n",
        api.display()
    );
    std::fs::write(&config, text)?;
    command.args([BINARY, "serve", "--config"]).arg(config);
    command.env("VIZARD_STATE_DIR", folder.join("state"));
    Ok(())
}

fn coturn(command: &mut Command, folder: &Path) {
    command.args([
        "turnserver",
        "-n",
        "--listening-ip",
        SERVER,
        "--relay-ip",
        SERVER,
    ]);
    command.args([
        "--listening-port",
        "3479",
        "--relay-threads",
        "1",
        "--lt-cred-mech",
    ]);
    command.args([
        "--user",
        "bench:bench",
        "--realm",
        "bench",
        "--no-tls",
        "--no-dtls",
        "--no-cli",
    ]);
    command.args([
        "--no-tcp",
        "--no-rfc5780",
        "--min-port",
        "5000",
        "--max-port",
        "65000",
    ]);
    command.args(["--log-file", "/dev/null", "--no-stdout-log"]);
    command.arg("--pidfile").arg(folder.join("pid"));
    command.arg("--userdb").arg(folder.join("users"));
}

/// Whether a UDP socket is bound to that port in the server's namespace.
fn listens(network: &Network, port: u16) -> io::Result<bool> {
    let output = network.server().args(["cat", "/proc/net/udp"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.contains(&format!(":{port:04X} ")))
}
