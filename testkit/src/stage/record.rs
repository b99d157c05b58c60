//! What everybody was sent, and how two records differ.

use std::collections::BTreeMap;
use std::fmt;

use vizard_proto::address::{FiveTuple, Transport};
use vizard_proto::contract::Event;
use vizard_proto::time::Timestamp;
use vizard_proto::usage::DropReason;

use super::script::Spot;

/// One thing that came out of the server, and the step at which it did.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub step: usize,
    pub seen: Seen,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Seen {
    /// A packet to anybody but B, as it is on the wire.
    Packet(FiveTuple, Vec<u8>),
    /// A packet to B: to which socket, and what does not depend on where that is.
    ToB((Spot, Transport), Vec<u8>),
    /// A packet of that endpoint went nowhere.
    Dropped(usize, DropReason),
    /// What the control side was told.
    Told(Event),
    /// A command was refused.
    Refused,
    /// When the relay wants to be woken, at the end of a step.
    Wakes(Option<Timestamp>),
}

#[derive(Default)]
pub struct Record {
    pub entries: Vec<Entry>,
    /// What each request of anybody but B was answered: step, endpoint, method, code.
    pub codes: Vec<(usize, usize, &'static str, u16)>,
    pub reached: Reached,
}

impl Record {
    /// What everybody but B was sent, in order. This is what must not depend on B's addresses.
    pub fn of_others(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| matches!(entry.seen, Seen::Packet(..)))
    }

    /// How the other record differs for anybody but B.
    pub fn leak(&self, other: &Self) -> Option<String> {
        difference(self.of_others(), other.of_others())
    }

    /// How anybody but B was answered otherwise.
    pub fn difference_of_codes(&self, other: &Self) -> Option<String> {
        let differ = |(one, two): &(&(_, _, _, _), &(_, _, _, _))| one != two;
        let pair = self.codes.iter().zip(&other.codes).find(differ);
        match pair {
            Some((one, two)) => Some(format!("one run: {one:?}\nthe other: {two:?}")),
            None if self.codes.len() == other.codes.len() => None,
            None => Some("one run has more answers".into()),
        }
    }

    /// How it differs in anything.
    pub fn divergence(&self, other: &Self) -> Option<String> {
        difference(self.entries.iter(), other.entries.iter())
    }
}

fn difference<'a>(
    mut one: impl Iterator<Item = &'a Entry>,
    mut two: impl Iterator<Item = &'a Entry>,
) -> Option<String> {
    loop {
        let (left, right) = (one.next(), two.next());
        if left != right {
            return Some(format!("one run: {left:?}\nthe other: {right:?}"));
        }
        left?;
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: ", self.step)?;
        match &self.seen {
            Seen::Packet(to, bytes) => {
                let (transport, remote) = (to.transport, to.remote);
                write!(f, "to {transport:?} {remote}: {}", Hex(bytes))
            }
            Seen::ToB(spot, gist) => write!(f, "to B at {spot:?}: {}", Hex(gist)),
            Seen::Dropped(endpoint, reason) => {
                write!(f, "endpoint {endpoint}: {}", reason.as_str())
            }
            Seen::Told(event) => write!(f, "{event:?}"),
            Seen::Refused => f.write_str("command refused"),
            Seen::Wakes(at) => write!(f, "wakes at {at:?}"),
        }
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How often each interesting thing happened, so that a test can insist that it did.
#[derive(Clone, Default)]
pub struct Reached(BTreeMap<(&'static str, u16), u64>);

impl Reached {
    pub fn note(&mut self, what: &'static str, code: u16) {
        *self.0.entry((what, code)).or_default() += 1;
    }

    pub fn count(&self, what: &'static str, code: u16) -> u64 {
        self.0.get(&(what, code)).copied().unwrap_or_default()
    }

    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.0 {
            *self.0.entry(*key).or_default() += count;
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((what, code), count) in &self.0 {
            writeln!(f, "{count:>9} {what} {code}")?;
        }
        Ok(())
    }
}
