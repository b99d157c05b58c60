//! A stage for whole calls: the same script played with different addresses for one party.
//!
//! [`Script`] is what happens, in words that name nobody's address. [`Places`] says where party B
//! is. [`play`] puts both before a server and writes down everything that each client was sent.
pub mod clients;
pub mod control;
pub mod endpoint;
pub mod gist;
pub mod places;
pub mod player;
pub mod record;
pub mod requests;
pub mod script;
pub mod subject;

pub use places::Places;
pub use player::play;
pub use record::Record;
pub use script::Script;
pub use subject::{Reaction, Server, Subject};

use std::collections::VecDeque;
use std::net::SocketAddr;

use places::Dice;
use vizard_proto::address::Transport;
use vizard_proto::config::Config;

/// In what the two runs of a script differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contrast {
    /// B's addresses and their families.
    Places,
    /// Whether B's endpoints are of UDP or TCP.
    Transports,
    /// Whether B is there at all.
    Presence,
}

/// Plays the script twice, with B at different places, which `seed` chooses.
pub fn twice<S: Subject>(script: &Script, seed: u64, subject: impl Fn(Server) -> S) -> [Record; 2] {
    contrast(Contrast::Places, script, seed, subject)
}

/// Plays the script twice.
pub fn contrast<S: Subject>(
    contrast: Contrast,
    script: &Script,
    seed: u64,
    subject: impl Fn(Server) -> S,
) -> [Record; 2] {
    let mut script = script.clone();
    if contrast != Contrast::Places {
        // Who shares these with B can notice that B is there, or needs no answer of the budget.
        script.rules.tight_budget = false;
        script.rules.few_allocations = false;
    }
    let config = subject::config(script.rules);
    let [one, two] = two_places(seed, &script, &config);
    let guesses = [&one, &two];
    let run = |here, second, named| {
        let server = Server::new(config.clone(), subject::WORKERS);
        let twist = Twist {
            contrast,
            second,
            named,
        };
        play(&script, here, guesses, twist, subject(server))
    };
    let other = if contrast == Contrast::Places {
        &two
    } else {
        &one
    };
    let (first, named) = run(&one, false, VecDeque::new());
    let (second, _) = run(other, true, named);
    [first, second]
}

/// How one run differs from the other besides B's places.
pub struct Twist {
    pub contrast: Contrast,
    pub second: bool,
    /// Whom everybody but B named in the first run, for the second: what is asked for must be the
    /// same, though mask addresses differ where B takes none.
    pub named: VecDeque<SocketAddr>,
}

impl Twist {
    pub fn none() -> Self {
        Self {
            contrast: Contrast::Places,
            second: false,
            named: VecDeque::new(),
        }
    }

    pub fn is_without_b(&self) -> bool {
        self.second && self.contrast == Contrast::Presence
    }

    pub fn transport(&self, honest: Transport) -> Transport {
        match (self.second && self.contrast == Contrast::Transports, honest) {
            (false, same) => same,
            (true, Transport::Udp) => Transport::Tcp,
            (true, Transport::Tcp) => Transport::Udp,
        }
    }
}

/// Where B is in either run, and which of its sockets is whose worker's. The budget of B's prefix
/// is divided among the workers, so that where it may be used up the latter is the same.
pub fn two_places(seed: u64, script: &Script, config: &Config) -> [Places; 2] {
    let mut dice = Dice(seed);
    let workers = u32::try_from(dice.roll() >> 32).expect("32 bits");
    let others = if script.rules.tight_budget {
        workers
    } else {
        !workers
    };
    [workers, others].map(|workers| {
        // That prefixes share a place in the budget's table must stay a rare accident.
        (0..4)
            .map(|_| Places::draw(dice.roll(), workers))
            .find(|places| !script.rules.tight_budget || !places.shares_budget(config))
            .expect("prefixes have places of their own")
    })
}
