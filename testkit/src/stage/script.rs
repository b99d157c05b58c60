//! What happens, step by step, without anybody's address. A script is read from numbers, so that
//! proptest can shorten one and a fuzzer can write one.

use std::time::Duration;

use vizard_proto::contract::Scope;

use super::clients::{CALLS, ENDPOINTS};

/// Settings and steps.
#[derive(Clone, Debug)]
pub struct Script {
    pub rules: Rules,
    /// How far everybody is connected before the first step: 0 not at all, 3 with channels.
    pub opening: u8,
    pub steps: Vec<Step>,
}

/// Which limits hold and how much is masked; several are so small that calls run into them.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Rules {
    /// Few unauthenticated answers per source prefix.
    pub tight_budget: bool,
    pub few_allocations: bool,
    pub few_permissions: bool,
    pub few_places: bool,
    pub short_nonces: bool,
    pub pools: Pools,
    /// 0 unless masked, 1 never, 2 always.
    pub binding: u8,
}

#[derive(Clone, Copy, Debug)]
pub enum Pools {
    Both,
    OnlyV4,
    OnlyV6,
    /// Two IPv4 addresses for all, so that parties share them.
    Tiny,
}

#[derive(Clone, Debug)]
pub enum Step {
    Pass(Duration),
    /// Time passes, and the relay's timers are late.
    Drift(Duration),
    Ask(usize, Manner, Request),
    /// The last Allocate (true) or the last packet of any kind once more, byte for byte.
    Again(usize, bool),
    Send(usize, Peer, usize),
    /// On the bound channel of that index, or else on that number.
    Channel(usize, u8, usize),
    /// One packet on every channel and one to everybody in the call.
    Talk(usize),
    Garbage(usize, u8, u8),
    Binding(usize),
    /// A new address for the endpoint, with what was bound to the old one left behind.
    Move(usize, Spot),
    /// A new address for the endpoint, which takes its allocation along if it can.
    Roam(usize, Spot),
    /// Permissions and a channel for one address of the pool after the other, the endpoint's own and
    /// its neighbours' among them.
    Sweep(usize, u16),
    /// As many allocations as there are ports.
    Spread(usize),
    Disconnect(usize),
    /// Both endpoints do what it takes to reach that level with each other.
    Dial(usize, usize, u8),
    Control(Control),
    /// The relay is written out and read back by a new process.
    Restart,
}

/// How a request is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Plain,
    Sha256,
    /// By USERHASH.
    Hidden,
    WrongPassword,
    WrongRealm,
    OldNonce,
    Unsigned,
    /// With the credential of another endpoint.
    Borrowed(usize),
    /// Without the list of algorithms that the nonce promised.
    BidDown,
    /// With an attribute that nobody knows.
    Unknown,
}

#[derive(Clone, Debug)]
pub enum Request {
    /// What is asked for besides the transport, as bits.
    Allocate(u8),
    Refresh(Option<u32>, Option<u8>),
    /// A Refresh with the mobility ticket that the endpoint was given last.
    Roam,
    Permit(Vec<Peer>),
    /// An index into a few channel numbers.
    Bind(u8, Peer),
}

/// Whom a request or packet names.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// The mask address of an endpoint, of either family, its port changed or not.
    Mask(usize, bool, bool),
    /// Where B really is in the first run or the second: what A may guess.
    Guess(bool, Spot),
    /// One of a list of addresses that nobody should reach.
    Foreign(u8),
    /// Anywhere in the IPv4 pool.
    Pool(u16),
}

/// One of B's sockets, by name: network, host in it, port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    pub network: usize,
    pub host: usize,
    pub port: usize,
}

#[derive(Clone, Copy, Debug)]
pub enum Control {
    Open(u8),
    Revoke(u8, Scope),
    /// Changes mapped address, Binding rule and limits.
    Policy(u8),
    /// Rotates the ticket keys; true also forgets the old.
    Keys(bool),
    /// The wall clock is set to so many seconds later or earlier.
    Clock(i64),
}

/// Lines whose tickets let them meet.
const PAIRS: [(usize, usize); 9] = [
    (0, 1),
    (0, 2),
    (3, 1),
    (3, 2),
    (5, 4),
    (5, 1),
    (0, 6),
    (6, 1),
    (7, 8),
];

impl Script {
    /// Reads `head` and each of `words` as one step.
    pub fn read(head: u64, words: &[u64]) -> Self {
        let mut reader = Reader(head);
        Self {
            rules: Rules::read(&mut reader),
            opening: [0, 1, 2, 2, 3, 3, 3, 3][reader.index(8)],
            steps: words
                .iter()
                .map(|word| Step::read(&mut Reader(*word)))
                .collect(),
        }
    }
}

impl Rules {
    fn read(reader: &mut Reader) -> Self {
        Self {
            tight_budget: reader.one_in(8),
            few_allocations: reader.one_in(8),
            few_permissions: reader.one_in(8),
            few_places: reader.one_in(16),
            short_nonces: reader.one_in(8),
            pools: match reader.below(16) {
                12 => Pools::OnlyV4,
                13 => Pools::OnlyV6,
                14 | 15 => Pools::Tiny,
                _ => Pools::Both,
            },
            binding: match reader.below(8) {
                6 => 1,
                7 => 2,
                _ => 0,
            },
        }
    }
}

impl Step {
    fn read(reader: &mut Reader) -> Self {
        let kind = reader.below(100);
        let endpoint = reader.endpoint();
        match kind {
            0..=8 => Self::Pass(reader.duration()),
            9 => Self::Drift(reader.duration()),
            10 | 11 => Self::Sweep(endpoint, u16::from(reader.below(255)) << 8),
            12..=38 => Self::Ask(endpoint, Manner::read(reader), Request::read(reader)),
            39..=42 => Self::Again(endpoint, reader.flag()),
            43..=48 => Self::Send(endpoint, Peer::read(reader), reader.len()),
            49..=58 => Self::Channel(endpoint, reader.below(8), reader.len()),
            59..=69 => Self::Talk(endpoint),
            70..=74 => Self::Garbage(endpoint, reader.below(12), reader.below(255)),
            75..=77 => Self::Binding(endpoint),
            78..=80 => Self::Move(endpoint, Spot::read(reader)),
            81 | 82 => Self::Roam(endpoint, Spot::read(reader)),
            83 => Self::Spread(endpoint),
            84 => Self::Disconnect(endpoint),
            85..=95 => {
                let (one, other) = PAIRS[reader.index(PAIRS.len())];
                Self::Dial(one, other, [3, 1, 2, 3][reader.index(4)])
            }
            96..=98 => Self::Control(Control::read(reader)),
            _ => Self::Restart,
        }
    }
}

impl Manner {
    fn read(reader: &mut Reader) -> Self {
        match reader.below(32) {
            20 | 21 => Self::Sha256,
            22 | 23 => Self::Hidden,
            24 => Self::WrongPassword,
            25 => Self::WrongRealm,
            26 => Self::OldNonce,
            27 => Self::Unsigned,
            28 | 29 => Self::Borrowed(reader.endpoint()),
            30 => Self::BidDown,
            31 => Self::Unknown,
            _ => Self::Plain,
        }
    }
}

impl Request {
    fn read(reader: &mut Reader) -> Self {
        match reader.below(16) {
            0..=3 => Self::Allocate(reader.below(255)),
            4..=6 => Self::Refresh(
                [None, Some(0), Some(60), Some(900), Some(u32::MAX)][reader.index(5)],
                [None, None, None, Some(1), Some(2), Some(7)][reader.index(6)],
            ),
            7..=10 => {
                let peers = 1 + reader.index(2);
                Self::Permit((0..peers).map(|_| Peer::read(reader)).collect())
            }
            _ => Self::Bind(reader.below(6), Peer::read(reader)),
        }
    }
}

impl Peer {
    fn read(reader: &mut Reader) -> Self {
        match reader.below(16) {
            0..=11 => Self::Mask(reader.endpoint(), reader.one_in(4), reader.one_in(8)),
            12 | 13 => Self::Guess(reader.flag(), Spot::read(reader)),
            14 => Self::Foreign(reader.below(255)),
            _ => Self::Pool(u16::from(reader.below(255)) << 8 | u16::from(reader.below(255))),
        }
    }
}

impl Spot {
    pub const NETWORKS: usize = 3;
    pub const HOSTS: usize = 2;
    pub const PORTS: usize = 4;

    fn read(reader: &mut Reader) -> Self {
        Self {
            network: reader.index(Self::NETWORKS),
            host: reader.index(Self::HOSTS),
            port: reader.index(Self::PORTS),
        }
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::NETWORKS * Self::HOSTS * Self::PORTS).map(|index| Self {
            network: index / (Self::HOSTS * Self::PORTS),
            host: index / Self::PORTS % Self::HOSTS,
            port: index % Self::PORTS,
        })
    }
}

impl Control {
    fn read(reader: &mut Reader) -> Self {
        match reader.below(8) {
            0..=2 => Self::Open(reader.below(CALLS)),
            3 | 4 => Self::Revoke(reader.below(CALLS), Scope::Party(reader.below(3))),
            5 => Self::Revoke(
                reader.below(CALLS),
                Scope::Device(reader.below(3), reader.below(2)),
            ),
            6 if reader.flag() => Self::Revoke(reader.below(CALLS), Scope::Call),
            6 if reader.flag() => Self::Clock([30, -30, 1300, -4000][reader.index(4)]),
            6 => Self::Keys(reader.one_in(4)),
            _ => Self::Policy(reader.below(255)),
        }
    }
}

/// Takes small numbers out of a large one, the last of them being zeros.
struct Reader(u64);

impl Reader {
    fn below(&mut self, bound: u8) -> u8 {
        let bound = u64::from(bound.max(1));
        let digit = self.0 % bound;
        self.0 /= bound;
        u8::try_from(digit).expect("below an u8")
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::from(self.below(u8::try_from(bound).expect("small")))
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Rarely true, and not for zero.
    fn one_in(&mut self, bound: u8) -> bool {
        self.below(bound) == bound - 1
    }

    fn endpoint(&mut self) -> usize {
        self.index(ENDPOINTS)
    }

    fn len(&mut self) -> usize {
        [3, 0, 1, 4, 160, 1200, 1400, 2236, 4000][self.index(9)]
    }

    fn duration(&mut self) -> Duration {
        let millis = [
            0, 1, 20, 1_000, 20_000, 70_000, 290_000, 301_000, 601_000, 3_700_000,
        ];
        Duration::from_millis(millis[self.index(millis.len())])
    }
}
