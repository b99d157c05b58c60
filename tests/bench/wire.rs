//! A wire between clients and a relay that loses, doubles, swaps, misdirects and damages media on
//! its way to the clients, and counts what it did.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What was done to how many packets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub dropped: u64,
    pub doubled: u64,
    pub swapped: u64,
    pub strayed: u64,
    pub damaged: u64,
}

/// It runs until [`Wire::stop`].
pub struct Wire {
    address: SocketAddr,
    end: Arc<AtomicBool>,
    thread: JoinHandle<Done>,
}

struct Side {
    client: SocketAddr,
    /// The way to the relay, with a port of its own for each client.
    socket: UdpSocket,
    /// Whether media came to it: the generator's first look at the relay is a client as well.
    has_media: bool,
    /// A packet that waits until the next has gone.
    held: Option<Vec<u8>>,
}

impl Wire {
    pub fn start(relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("nonblocking");
        let address = socket.local_addr().expect("bound");
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = std::thread::spawn(move || carry(&socket, relay, &ended));
        Self {
            address,
            end,
            thread,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn stop(self) -> Done {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().expect("it counted")
    }
}

fn carry(clients: &UdpSocket, relay: SocketAddr, end: &AtomicBool) -> Done {
    let mut sides: Vec<Side> = Vec::new();
    let mut index = HashMap::new();
    let (mut done, mut count) = (Done::default(), 0);
    let mut packet = [0; 2048];
    while !end.load(Ordering::Relaxed) {
        let mut idle = true;
        while let Ok((len, from)) = clients.recv_from(&mut packet) {
            idle = false;
            let side = *index.entry(from).or_insert_with(|| {
                sides.push(Side::new(from, relay));
                sides.len() - 1
            });
            sides[side].socket.send(&packet[..len]).expect("sent");
        }
        for side in 0..sides.len() {
            while let Ok(len) = sides[side].socket.recv(&mut packet) {
                idle = false;
                deliver(
                    clients,
                    &mut sides,
                    side,
                    &packet[..len],
                    &mut count,
                    &mut done,
                );
            }
        }
        if idle {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    done
}

impl Side {
    fn new(client: SocketAddr, relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(relay).expect("connected");
        socket.set_nonblocking(true).expect("nonblocking");
        Self {
            client,
            socket,
            has_media: false,
            held: None,
        }
    }
}

fn deliver(
    clients: &UdpSocket,
    sides: &mut [Side],
    side: usize,
    packet: &[u8],
    count: &mut u64,
    done: &mut Done,
) {
    let send = |to: SocketAddr, packet: &[u8]| {
        clients.send_to(packet, to).expect("sent");
    };
    let here = sides[side].client;
    // Only ChannelData: requests are to be answered.
    if packet[0] >> 6 != 1 {
        return send(here, packet);
    }
    sides[side].has_media = true;
    if let Some(held) = sides[side].held.take() {
        send(here, packet);
        send(here, &held);
        done.swapped += 1;
        return;
    }
    *count += 1;
    match *count % 50 {
        3 | 13 | 23 => done.dropped += 1,
        5 | 15 => {
            send(here, packet);
            send(here, packet);
            done.doubled += 1;
        }
        7 => sides[side].held = Some(packet.to_vec()),
        29 => {
            let other = (side + 1..sides.len())
                .chain(0..side)
                .find(|side| sides[*side].has_media);
            send(sides[other.expect("more than one")].client, packet);
            done.strayed += 1;
        }
        41 => {
            let mut damaged = packet.to_vec();
            *damaged.last_mut().expect("not empty") ^= 1;
            send(here, &damaged);
            done.damaged += 1;
        }
        _ => send(here, packet),
    }
}
