//! Both twins of the sockets do the same, and may be exchanged while packets pass.

use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use vizard::dataplane::FastPath;

use crate::loopback::{FAST_PATH, Heard, Node, Setup};

/// Runs the other tests of the data plane once more, with nodes that are started with this fast path.
fn all_hold_with(fast_path: FastPath) {
    let program = std::env::current_exe().expect("it runs");
    let mut again = Command::new(program);
    again.args(["dataplane::", "--skip", "twins::"]);
    again.env(FAST_PATH, format!("{fast_path:?}"));
    let output = again.output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("sockets::"), "none was run");
}

#[test]
fn the_portable_twin_passes_every_test() {
    all_hold_with(FastPath::Portable);
}

#[test]
fn so_do_batches_without_trains() {
    all_hold_with(FastPath::Off);
}

/// A train of datagrams that the client's own machine puts together, and the node takes apart.
#[test]
fn trains_are_passed_on_datagram_by_datagram() {
    for fast_path in FastPath::ALL {
        let node = Node::start(&Setup {
            fast_path,
            ..Setup::default()
        });
        let call = node.call();
        let mut alice = call.over_udp(0, node.udp(0));
        let mut bob = call.over_udp(1, node.udp(0));
        let (a, b) = (alice.allocate(), bob.allocate());
        assert_eq!(alice.bind(0x4001, b), Ok(()));
        assert_eq!(bob.permit(a), Ok(()));
        let message = |number: u8| [&[0x40, 1, 3, 0xE8][..], &[number; 1000]].concat();
        let train: Vec<u8> = (0..40).flat_map(message).collect();
        let (segment, parts) = (1004, [IoSlice::new(&train)]);
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let fd = alice.udp_socket().as_raw_fd();
        sendmsg::<SockaddrIn>(fd, &parts, &control, MsgFlags::empty(), None).expect("sent");
        for number in 0..40 {
            assert_eq!(bob.hear(), Heard::Data(a, vec![number; 1000]));
        }
    }
}

#[test]
fn an_exchange_in_mid_call_loses_nothing() {
    const ROUNDS: u32 = 300;
    const BURST: u32 = 20;
    let node = Node::start(&Setup::default());
    let call = node.call();
    let mut alice = call.over_udp(0, node.udp(0));
    let mut bob = call.over_udp(1, node.udp(0));
    let (a, b) = (alice.allocate(), bob.allocate());
    assert_eq!(alice.bind(0x4001, b), Ok(()));
    assert_eq!(bob.bind(0x4002, a), Ok(()));
    let heard = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                // No more under way than any buffer holds, however slow this machine is.
                while round * BURST > heard.load(Ordering::Relaxed).saturating_add(BURST) {
                    thread::sleep(Duration::from_millis(1));
                }
                for number in 0..BURST {
                    let mut payload = [0xAB; 1200];
                    payload[..4].copy_from_slice(&(round * BURST + number).to_be_bytes());
                    alice.say(0x4001, &payload);
                }
            }
        });
        let _end = Released(&heard);
        for number in 0..ROUNDS * BURST {
            if number % 7 == 0 {
                let next = FastPath::ALL[(number / 7 % 3) as usize];
                node.handle.set_fast_path(next);
            }
            let Heard::Channel(0x4002, payload) = bob.hear() else {
                panic!("it came by another way");
            };
            assert_eq!(payload.len(), 1200);
            assert_eq!(payload.first_chunk(), Some(&number.to_be_bytes()));
            heard.store(number + 1, Ordering::Relaxed);
        }
    });
}

/// Has the sender wait no longer when its hearer is gone, by a failure as well.
struct Released<'a>(&'a AtomicU32);

impl Drop for Released<'_> {
    fn drop(&mut self) {
        self.0.store(u32::MAX, Ordering::Relaxed);
    }
}
