//! Network namespaces of the test's own: machines with links between them, for what loopback
//! can't show. They are gone when the test is.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A machine of its own.
pub(crate) struct Namespace(File);

impl Namespace {
    /// So many machines, or `None` and a loud line if this user may not make any.
    pub(crate) fn several<const N: usize>(test: &str) -> Option<[Self; N]> {
        let made: Vec<Self> = (0..N).map_while(|_| Self::new()).collect();
        let made = made.try_into().ok();
        if made.is_none() {
            // Written past the test runner, which shows only what failing tests print.
            let line = format!("{test} SKIPPED: network namespaces need root\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        made
    }

    fn new() -> Option<Self> {
        let enter = || {
            unshare(CloneFlags::CLONE_NEWNET).ok()?;
            File::open("/proc/thread-self/ns/net").ok()
        };
        let made = Self(thread::spawn(enter).join().ok().flatten()?);
        made.ip("link set lo up");
        Some(made)
    }

    /// Does something on this machine. Sockets and threads made there stay there.
    pub(crate) fn within<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("root may enter");
                what()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// `ip ARGUMENTS` on this machine; what it says.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let run = || {
            Command::new("ip")
                .args(arguments.split_whitespace())
                .output()
        };
        let output = self.within(run).expect("iproute2 is installed");
        let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "ip {arguments}: {}",
            said(&output.stderr)
        );
        said(&output.stdout)
    }

    /// A cable between this machine's `name` and that one's `other`, both up, with this MTU.
    pub(crate) fn link(&self, name: &str, there: &Self, other: &str, mtu: u16) {
        // `ip` opens this path in a process of its own.
        let place = format!("/proc/{}/fd/{}", std::process::id(), there.0.as_raw_fd());
        self.ip(&format!(
            "link add {name} mtu {mtu} type veth peer name {other} mtu {mtu} netns {place}"
        ));
        for (namespace, name) in [(self, name), (there, other)] {
            namespace.ip(&format!("link set dev {name} addrgenmode none"));
            namespace.ip(&format!("link set dev {name} up"));
        }
    }

    /// Gives an interface an address that is good at once.
    pub(crate) fn address(&self, name: &str, address: &str) {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.ip(&format!("address add {address} dev {name} {nodad}"));
    }

    /// Passes on packets that are for others.
    pub(crate) fn be_router(&self) {
        self.within(|| {
            for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                fs::write(format!("/proc/sys/net/{setting}"), "1").expect("root may");
            }
        });
    }

    /// The MTU that this machine has learned for the way to `ip`.
    pub(crate) fn learned_mtu(&self, ip: &str) -> Option<u16> {
        let route = self.ip(&format!("route get {ip}"));
        let mut words = route.split_whitespace();
        words.find(|word| *word == "mtu")?;
        words.next()?.parse().ok()
    }

    /// How many fragments this machine has made.
    pub(crate) fn fragments_made(&self) -> u64 {
        self.within(|| {
            let v4 = fs::read_to_string("/proc/thread-self/net/snmp").expect("readable");
            let mut lines = v4.lines().filter(|line| line.starts_with("Ip:"));
            let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
            let mut pairs = names.split(' ').zip(values.split(' '));
            let (_, v4) = pairs
                .find(|(name, _)| *name == "FragCreates")
                .expect("there");
            let v6 = fs::read_to_string("/proc/thread-self/net/snmp6").expect("readable");
            let line = v6.lines().find(|line| line.starts_with("Ip6FragCreates"));
            let v6 = line
                .and_then(|line| line.split_whitespace().nth(1))
                .expect("there");
            [v4, v6]
                .iter()
                .map(|count| count.parse::<u64>().expect("a number"))
                .sum()
        })
    }
}
