use std::net::UdpSocket;

use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use std::io::IoSlice;
use std::os::fd::AsRawFd;

use super::*;

const LARGEST_TAKEN: usize = 1300;

fn ours(address: &str, fast_path: FastPath) -> (Socket, Inbox) {
    let socket = UdpSocket::bind(address).expect("a free port");
    socket.set_nonblocking(true).expect("a socket");
    let socket = Socket::new(socket).expect("its options");
    socket.follow(fast_path);
    let mut inbox = Inbox::new(8, LARGEST_TAKEN);
    inbox.follow(fast_path);
    (socket, inbox)
}

fn client(to: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind(("127.0.0.1", 0)).expect("a free port");
    client.connect(to).expect("loopback");
    client
}

/// All that waits in the socket, as bytes, sender and destination; `None` for what is refused.
fn all(inbox: &mut Inbox, socket: &mut Socket) -> Vec<Option<(Vec<u8>, SocketAddr, SocketAddr)>> {
    let mut datagrams = Vec::new();
    loop {
        let Reception {
            is_more, troubles, ..
        } = inbox.receive(socket);
        assert_eq!(troubles, 0);
        while let Some(arrival) = inbox.next() {
            datagrams.push(match arrival {
                Arrival::Packet {
                    place,
                    remote,
                    local,
                } => Some((inbox.buffers()[place].to_vec(), remote, local)),
                Arrival::Oversized => None,
                Arrival::NoDestination => panic!("loopback has one"),
            });
        }
        if !is_more {
            return datagrams;
        }
    }
}

#[test]
fn datagrams_come_out_as_they_went_in() {
    for fast_path in FastPath::ALL {
        let (mut socket, mut inbox) = ours("0.0.0.0:0", fast_path);
        let at: SocketAddr = ([127, 0, 0, 3], socket.bound().port()).into();
        let client = client(at);
        let from = client.local_addr().expect("bound");
        let mut expected = Vec::new();
        for len in (0..20).chain([172, 1200, LARGEST_TAKEN, LARGEST_TAKEN + 1, 9000]) {
            let bytes = vec![u8::try_from(len % 251).expect("small"); len];
            client.send(&bytes).expect("sent");
            expected.push((len <= LARGEST_TAKEN).then_some((bytes, from, at)));
        }
        assert_eq!(all(&mut inbox, &mut socket), expected, "{fast_path:?}");
    }
}

/// Sends `bytes` as a train of datagrams of `segment` bytes.
fn send_train(client: &UdpSocket, bytes: &[u8], segment: u16) {
    let control = [ControlMessage::UdpGsoSegments(&segment)];
    let parts = [IoSlice::new(bytes)];
    sendmsg::<SockaddrIn>(
        client.as_raw_fd(),
        &parts,
        &control,
        MsgFlags::empty(),
        None,
    )
    .expect("this kernel has trains");
}

#[test]
fn trains_come_out_as_datagrams() {
    for fast_path in FastPath::ALL {
        let (mut socket, mut inbox) = ours("127.0.0.1:0", fast_path);
        let client = client(socket.bound());
        let bytes: Vec<u8> = (0..5003_usize).map(|at| at.to_le_bytes()[0]).collect();
        // The last is shorter; two trains of others are refused whole, and what follows is not.
        send_train(&client, &bytes, 1000);
        send_train(&client, &bytes[..2802], 1401);
        client.send(b"after").expect("sent");
        let found = all(&mut inbox, &mut socket);
        let texts: Vec<_> = found.into_iter().map(|it| it.map(|it| it.0)).collect();
        let mut expected: Vec<_> = bytes.chunks(1000).map(|it| Some(it.to_vec())).collect();
        expected.extend([None, None, Some(b"after".to_vec())]);
        assert_eq!(texts, expected, "{fast_path:?}");
    }
}

#[test]
fn no_train_is_lost_when_they_are_switched_off() {
    let (mut socket, mut inbox) = ours("127.0.0.1:0", FastPath::Auto);
    let client = client(socket.bound());
    send_train(&client, &[5; 4000], 1000);
    socket.follow(FastPath::Portable);
    inbox.follow(FastPath::Portable);
    send_train(&client, &[6; 4000], 1000);
    let found = all(&mut inbox, &mut socket);
    let texts: Vec<_> = found.into_iter().flatten().map(|it| it.0).collect();
    let expected: Vec<_> = [5, 6]
        .iter()
        .flat_map(|byte| vec![vec![*byte; 1000]; 4])
        .collect();
    assert_eq!(texts, expected);
}

#[test]
fn what_the_kernel_had_no_room_for_is_counted() {
    for fast_path in FastPath::ALL {
        let (mut socket, mut inbox) = ours("127.0.0.1:0", fast_path);
        sys::set(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, 4096).expect("an option");
        let client = client(socket.bound());
        let mut counted = 0;
        for round in 1..=2 {
            for _ in 0..100 {
                client.send(&[1; 500]).expect("sent");
            }
            let taken = all(&mut inbox, &mut socket).len();
            assert!(taken < 100, "the buffer is small");
            // The kernel tells with what it had room for afterwards.
            client.send(&[2]).expect("sent");
            let reception = inbox.receive(&mut socket);
            assert_eq!(
                reception.overflows as usize,
                100 - taken,
                "{fast_path:?} {round}"
            );
            counted += reception.overflows;
        }
        assert!(counted > 0);
    }
}
