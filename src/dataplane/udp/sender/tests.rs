use std::net::UdpSocket;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use proptest::prelude::*;

use super::super::sys;
use super::super::trains::SHORTEST;
use super::*;

fn ours(address: &str) -> Socket {
    let socket = UdpSocket::bind(address).expect("a free port");
    socket.set_nonblocking(true).expect("a socket");
    Socket::new(socket).expect("its options")
}

/// Clients on loopback, of both families.
fn clients() -> Vec<UdpSocket> {
    let bind = |ip: &str| {
        let socket = UdpSocket::bind((ip, 0)).expect("a free port");
        let patience = Some(Duration::from_secs(10));
        socket.set_read_timeout(patience).expect("a positive time");
        socket
    };
    ["127.0.0.1", "127.0.0.1", "127.0.0.2", "::1"]
        .map(bind)
        .into()
}

fn heard(client: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 8192];
    let (len, from) = client.recv_from(&mut buffer).expect("a datagram");
    (buffer[..len].to_vec(), from)
}

/// Pushes datagrams of (client, length), each made of a head, a body and padding, and sends them.
/// Each must arrive where it should, whole and in order.
fn all_arrive(fast_path: FastPath, sockets: &[Socket], batch: &[(usize, usize)]) -> Sender<usize> {
    let clients = clients();
    let buffers: Vec<u8> = (0..8192_usize).map(|at| at.to_le_bytes()[0]).collect();
    let mut sender = Sender::new(sockets);
    sender.follow(fast_path);
    let mut said = vec![Vec::new(); clients.len()];
    for (tag, (client, len)) in batch.iter().enumerate() {
        let to = clients[*client].local_addr().expect("bound");
        let from = sockets[usize::from(to.is_ipv6())].bound();
        let head = vec![u8::try_from(tag).expect("a small number"); (*len).min(4)];
        let padding = (len - head.len()).min(tag % 4);
        let body = tag..tag + len - head.len() - padding;
        let mut whole = head.clone();
        whole.extend(&buffers[body.clone()]);
        whole.resize(*len, 0);
        said[*client].push((whole, from));
        let head = &head;
        let outbound = Outbound {
            from,
            to,
            head,
            body,
            padding,
        };
        sender.push(&outbound, tag).expect("there is room");
    }
    let mut sent = Vec::new();
    sender.flush(sockets, &buffers, |tag, result| {
        assert_eq!(result, Ok(()));
        sent.push(tag);
    });
    sent.sort_unstable();
    assert!(
        sent.into_iter().eq(0..batch.len()),
        "each is accounted for, once"
    );
    for (client, said) in clients.iter().zip(said) {
        for datagram in said {
            assert_eq!(heard(client), datagram);
        }
    }
    sender
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn each_client_hears_all_that_is_for_it_in_order(
        batch in proptest::collection::vec(
            (0..4_usize, prop_oneof![Just(1200_usize), Just(1200), Just(1000), Just(172), 0..1500_usize, Just(4100)]),
            0..MOST,
        ),
    ) {
        let sockets = [ours("127.0.0.1:0"), ours("[::1]:0")];
        for fast_path in FastPath::ALL {
            all_arrive(fast_path, &sockets, &batch);
        }
    }
}

/// How many datagrams come to a client as one when so many equal ones are sent.
fn largest_train(fast_path: FastPath, sockets: &[Socket], count: usize) -> usize {
    let client = &clients()[0];
    setsockopt(client, sockopt::UdpGroSegment, &true).expect("this kernel has trains");
    let mut sender = Sender::new(sockets);
    sender.follow(fast_path);
    for _ in 0..count {
        let (from, to) = (sockets[0].bound(), client.local_addr().expect("bound"));
        let outbound = Outbound {
            from,
            to,
            head: &[7; 100],
            body: 0..0,
            padding: 0,
        };
        sender.push(&outbound, ()).expect("there is room");
    }
    sender.flush(sockets, &[], |(), result| assert_eq!(result, Ok(())));
    let mut largest = 0;
    let mut left = count * 100;
    while left > 0 {
        let len = heard(client).0.len();
        largest = largest.max(len / 100);
        left -= len;
    }
    largest
}

#[test]
fn trains_leave_as_one_where_they_may() {
    let sockets = [ours("127.0.0.1:0")];
    assert_eq!(largest_train(FastPath::Auto, &sockets, 10), 10);
    assert_eq!(largest_train(FastPath::Auto, &sockets, SHORTEST), SHORTEST);
    assert_eq!(largest_train(FastPath::Auto, &sockets, SHORTEST - 1), 1);
    assert_eq!(largest_train(FastPath::Off, &sockets, 10), 1);
    assert_eq!(largest_train(FastPath::Portable, &sockets, 10), 1);
}

#[test]
fn what_the_kernel_does_not_cut_leaves_singly() {
    let sockets = [ours("127.0.0.1:0"), ours("[::1]:0")];
    // The kernel cuts nothing that has no checksum.
    sys::set(&sockets[0], libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).expect("an option");
    let mut batch = vec![(0, 1200); 20];
    batch.extend([(1, 600); 20]);
    let sender = all_arrive(FastPath::Auto, &sockets, &batch);
    assert!(!sender.batch.trains.are_on(), "it is not tried again");
}

#[test]
fn a_full_batch_has_to_leave_first() {
    let sockets = [ours("127.0.0.1:0")];
    let mut sender = Sender::new(&sockets);
    let (from, to) = (
        sockets[0].bound(),
        "127.0.0.1:9".parse().expect("an address"),
    );
    let outbound = Outbound {
        from,
        to,
        head: b"x",
        body: 0..0,
        padding: 0,
    };
    for _ in 0..MOST {
        assert!(!sender.is_full());
        assert_eq!(sender.push(&outbound, ()), Ok(()));
    }
    assert!(sender.is_full());
    assert_eq!(sender.push(&outbound, ()), Err(Loss::SendBlocked));
    sender.discard();
    sender.flush(&sockets, &[], |(), _| panic!("nothing waits"));
    let elsewhere = Outbound {
        from: "127.0.0.1:1".parse().expect("one"),
        ..outbound
    };
    assert_eq!(sender.push(&elsewhere, ()), Err(Loss::NoSocket));
}

#[test]
fn one_that_cannot_be_sent_keeps_no_other_back() {
    let sockets = [ours("127.0.0.1:0")];
    for fast_path in FastPath::ALL {
        let client = &clients()[0];
        let mut sender = Sender::new(&sockets);
        sender.follow(fast_path);
        let from = sockets[0].bound();
        let here = client.local_addr().expect("bound");
        // Port 0 is nobody's.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        for (tag, to) in [here, nowhere, nowhere, here].into_iter().enumerate() {
            let outbound = Outbound {
                from,
                to,
                head: &[1],
                body: 0..0,
                padding: 0,
            };
            sender.push(&outbound, tag).expect("there is room");
        }
        let mut results = [None; 4];
        sender.flush(&sockets, &[], |tag, result| results[tag] = Some(result));
        let lost = Some(Err(Loss::SendFailed));
        assert_eq!(results, [Some(Ok(())), lost, lost, Some(Ok(()))]);
        assert_eq!((heard(client).0, heard(client).0), (vec![1], vec![1]));
    }
}
