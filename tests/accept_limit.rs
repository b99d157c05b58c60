//! Without a free file descriptor no connection is accepted, and nothing else stops. In a file of
//! its own, because the limit holds for the whole process.

mod loopback;

use std::os::fd::AsRawFd;

use loopback::{Node, Setup, wait_until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

#[test]
fn a_full_descriptor_table_is_survived() {
    let node = Node::start(&Setup {
        workers: 1,
        ..Setup::default()
    });
    let call = node.call();
    let mut alice = call.over_udp(0, node.udp(0));
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");

    // The first free descriptor is the first that is not allowed.
    let free = std::fs::File::open("/dev/null")
        .expect("it is always there")
        .as_raw_fd();
    let full = u64::try_from(free).expect("a descriptor");
    setrlimit(Resource::RLIMIT_NOFILE, full, hard).expect("lowering is allowed");
    client
        .connect(&node.tcp(0).into())
        .expect("the kernel takes it");
    let failures = || node.metric("vizard_socket_errors_total{operation=\"accept\"}");
    wait_until("accepting has failed more than once", || failures() > 1);
    assert_eq!(alice.binding(), 0, "UDP is served meanwhile");
    assert_eq!(node.metric("vizard_tcp_connections"), 0);

    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("back to what it was");
    wait_until("it is accepted after all", || {
        node.metric("vizard_tcp_connections") == 1
    });
}
