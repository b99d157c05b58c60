//! Where B is in one run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use vizard_proto::address::{Client, FiveTuple, Transport};
use vizard_proto::config::{Config, Limits};
use vizard_proto::time::Timestamp;
use vizard_proto::usage::DropReason;
use vizard_proto::{Step, Worker};

use super::clients::fixed_addresses;
use super::script::Spot;

/// An address for each of B's sockets. Sockets that share an IP address or a source prefix by name
/// do so in every run, and no others.
#[derive(Clone, Debug)]
pub struct Places {
    spots: Vec<SocketAddr>,
    workers: u32,
}

impl Places {
    /// Addresses drawn with `seed`; bit i of `workers` is the worker that serves socket i.
    pub fn draw(seed: u64, workers: u32) -> Self {
        let mut dice = Dice(seed);
        let mut networks = Vec::new();
        while networks.len() < Spot::NETWORKS {
            let network = dice.network();
            let taken = |other: &IpAddr| prefix(*other) == prefix(network);
            if !networks.iter().any(taken) && !fixed_addresses().any(|ip| taken(&ip)) {
                networks.push(network);
            }
        }
        let hosts = dice.distinct::<{ Spot::HOSTS }>();
        let ports = dice.distinct::<{ Spot::PORTS }>();
        let place = |spot: Spot| {
            let ip = with_host(networks[spot.network], hosts[spot.host]);
            SocketAddr::new(ip, ports[spot.port])
        };
        Self {
            spots: Spot::all().map(place).collect(),
            workers,
        }
    }

    pub fn client(&self, spot: Spot, transport: Transport) -> Client {
        let index = Spot::all()
            .position(|other| other == spot)
            .expect("one of them");
        Client {
            tuple: tuple(transport, self.spots[index]),
            worker: u16::try_from(self.workers >> index & 1).expect("a bit"),
        }
    }

    pub fn address(&self, spot: Spot) -> SocketAddr {
        self.client(spot, Transport::Udp).tuple.remote
    }

    /// Whether each socket is of the family that it is of over there.
    pub fn are_of_families_of(&self, there: &Self) -> bool {
        let families =
            |places: &Self| -> Vec<bool> { places.spots.iter().map(SocketAddr::is_ipv4).collect() };
        families(self) == families(there)
    }

    /// Which of B's sockets this is.
    pub fn name(&self, tuple: &FiveTuple) -> Option<(Spot, Transport)> {
        let index = self.spots.iter().position(|spot| *spot == tuple.remote)?;
        Some((Spot::all().nth(index)?, tuple.transport))
    }

    /// Whether a network of B's shares the place of another's in the table of unauthenticated
    /// answers, which has 65,536 of them.
    pub fn shares_budget(&self, config: &Config) -> bool {
        let limits = Limits {
            answers_burst: 1,
            answers_per_second: 1,
            ..config.limits.clone()
        };
        let config = Config {
            limits,
            ..config.clone()
        };
        let mut worker = Worker::new(&config, 1, crate::SEED);
        let networks = self.spots.iter().step_by(Spot::HOSTS * Spot::PORTS);
        let mut refused = |ip: IpAddr| {
            let client = Client {
                tuple: tuple(Transport::Udp, SocketAddr::new(ip, 1)),
                worker: 0,
            };
            let mut question = [0; 20];
            question[..8].copy_from_slice(&[0, 3, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
            let now = Timestamp::from_secs(10);
            matches!(
                worker.handle(now, client, &question, &mut [0; 1024]),
                Step::Drop(DropReason::AnswerBudget)
            )
        };
        for ip in fixed_addresses() {
            // A's and others' prefixes may be asked for twice.
            let _ = refused(ip);
        }
        networks.map(SocketAddr::ip).any(refused)
    }
}

pub fn tuple(transport: Transport, remote: SocketAddr) -> FiveTuple {
    let local = if remote.is_ipv4() {
        SocketAddr::from(([203, 0, 113, 1], 3478))
    } else {
        SocketAddr::from(([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1], 3478))
    };
    FiveTuple {
        transport,
        local,
        remote,
    }
}

/// What the unauthenticated-answer budget is kept by: a /24 or a /64.
pub fn prefix(ip: IpAddr) -> (bool, u64) {
    match ip {
        IpAddr::V4(ip) => (false, u64::from(ip.to_bits() >> 8)),
        IpAddr::V6(ip) => {
            let [upper, ..] = halves(ip);
            (true, upper)
        }
    }
}

fn with_host(network: IpAddr, host: u16) -> IpAddr {
    match network {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let [_, host] = host.to_be_bytes();
            IpAddr::V4(Ipv4Addr::new(a, b, c, host))
        }
        IpAddr::V6(ip) => {
            let [upper, lower] = halves(ip);
            let lower = lower ^ u64::from(host);
            IpAddr::V6(Ipv6Addr::from_bits(
                u128::from(upper) << 64 | u128::from(lower),
            ))
        }
    }
}

fn halves(ip: Ipv6Addr) -> [u64; 2] {
    let octets = ip.octets();
    let half = |from: usize| {
        let bytes: [u8; 8] = octets[from..from + 8].try_into().expect("eight bytes");
        u64::from_be_bytes(bytes)
    };
    [half(0), half(8)]
}

/// Addresses that a relay might treat specially if it ever looked at them.
const NOTABLE: [&str; 16] = [
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "198.18.0.1",
    "192.0.2.1",
    "203.0.113.1",
    "224.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "::1",
    "::ffff:198.51.100.10",
    "64:ff9b::c633:640a",
    "2001:2::1",
    "2001:db8::1",
    "fe80::1",
];

/// SplitMix64: enough to draw addresses from a number.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("small");
        usize::try_from(self.roll() % bound).expect("below an usize")
    }

    fn network(&mut self) -> IpAddr {
        match self.below(4) {
            0 => NOTABLE[self.below(NOTABLE.len())]
                .parse()
                .expect("an address"),
            1 => {
                let bits = u128::from(self.roll()) << 64 | u128::from(self.roll());
                IpAddr::V6(Ipv6Addr::from_bits(bits))
            }
            _ => {
                let [a, b, c, d, ..] = self.roll().to_be_bytes();
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
        }
    }

    /// Numbers that differ in their lower byte.
    fn distinct<const N: usize>(&mut self) -> [u16; N] {
        let mut drawn = [0; N];
        for index in 0..N {
            drawn[index] = loop {
                let [high, low, ..] = self.roll().to_be_bytes();
                let number = u16::from_be_bytes([high, low]);
                let same = |other: &u16| other.to_be_bytes()[1] == low;
                if number != 0 && !drawn[..index].iter().any(same) {
                    break number;
                }
            };
        }
        drawn
    }
}
