//! Two namespaces with a cable between them: the server in one, the generator in the other.

use std::io;
use std::process::Command;

/// Where the servers listen.
pub(crate) const SERVER: &str = "10.77.0.1";
/// The clients' addresses: all of them are the generator's.
pub(crate) const CLIENTS: &str = "10.96.0.0/12";
/// Of the namespaces' names; the process that made them follows.
const PREFIX: &str = "vizard-bench-";
const GENERATOR: &str = "10.77.0.2";

/// Both namespaces; they go with this value.
pub(crate) struct Network {
    server: String,
    generator: String,
}

impl Network {
    pub(crate) fn new() -> io::Result<Self> {
        sweep()?;
        let id = std::process::id();
        let network = Self {
            server: format!("{PREFIX}{id}-s"),
            generator: format!("{PREFIX}{id}-g"),
        };
        let (server, generator) = (&network.server, &network.generator);
        for line in [
            format!("netns add {server}"),
            format!("netns add {generator}"),
            format!("-n {server} link add cable type veth peer name cable netns {generator}"),
            format!("-n {server} address add {SERVER}/30 dev cable"),
            format!("-n {generator} address add {GENERATOR}/30 dev cable"),
            format!("-n {server} link set cable up"),
            format!("-n {generator} link set cable up"),
            format!("-n {server} link set lo up"),
            format!("-n {generator} link set lo up"),
            format!("-n {generator} route add local {CLIENTS} dev lo"),
            format!("-n {server} route add {CLIENTS} via {GENERATOR}"),
        ] {
            ip(&line)?;
        }
        Ok(network)
    }

    /// A command in the server's namespace and on its core.
    pub(crate) fn server(&self) -> Command {
        inside(&self.server, "0")
    }

    /// A command in the generator's namespace and on the other core.
    pub(crate) fn generator(&self) -> Command {
        inside(&self.generator, "1")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.generator] {
            let _ = ip(&format!("netns delete {namespace}"));
        }
    }
}

/// Every link of this chain becomes the next, so that the child is the command itself. It ends with
/// us, however we end.
fn inside(namespace: &str, core: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "ip", "netns", "exec", namespace]);
    command.args(["taskset", "-c", core]);
    command
}

/// Namespaces of runs that were killed.
fn sweep() -> io::Result<()> {
    let output = Command::new("ip").args(["netns", "list"]).output()?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        let gone = |pid: &str| !std::path::Path::new("/proc").join(pid).exists();
        if owner.is_some_and(gone) {
            ip(&format!("netns delete {name}"))?;
        }
    }
    Ok(())
}

fn ip(line: &str) -> io::Result<()> {
    let output = Command::new("ip").args(line.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("ip {line}: {told}")))
}
