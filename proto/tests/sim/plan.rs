//! Who takes part and what happens to them.

use std::fmt;
use std::time::Duration;

use vizard_proto::address::Transport;
use vizard_proto::auth::ticket::Ticket;
use vizard_proto::contract::Scope;

use super::agent::Habits;
use testkit::stage::places::Dice;

/// How long the network stays calm in the end, so that whoever can reach each other must.
pub(crate) const CALM: Duration = Duration::from_secs(1200);

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) members: Vec<Member>,
    /// Before the calm.
    pub(crate) length: Duration,
    pub(crate) loss: usize,
    pub(crate) quota: usize,
    pub(crate) happenings: Vec<(Duration, Happening)>,
}

pub(crate) struct Member {
    pub(crate) ticket: Ticket,
    pub(crate) transport: Transport,
    /// Whether its own address is of IPv6.
    pub(crate) at_v6: bool,
    pub(crate) habits: Habits,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    /// The NAT maps it to another port (false) or address (true).
    Rebind(usize, bool),
    /// Its NAT gives it the address that another one had before.
    Inherit(usize, usize),
    /// It starts over on another socket and leaves the old allocation behind.
    /// So many times.
    Redial(usize, u8),
    Sleep(usize, u64),
    /// Deletes its allocation and goes.
    Leave(usize),
    /// Goes without a word.
    Crash(usize),
    /// Somebody tells it where a stranger's mask address is, and it tries.
    Intrude(usize, usize),
    Revoke(u8, Scope),
    /// From then on so many of a hundred packets are lost.
    Weather(usize),
    Restart,
    /// The server's clock is set to so many seconds later or earlier.
    Clock(i64),
    /// The same, and three seconds later back.
    Leap(i64),
}

impl Plan {
    /// Reads a plan out of numbers: one for the cast, one for each happening.
    pub(crate) fn read(seed: u64, words: &[u64]) -> Self {
        let mut dice = Dice(seed);
        let length = Duration::from_secs([600, 1800, 5400, 9000][dice.below(4)]);
        let quota = [3, 20, 20][dice.below(3)];
        let members = cast(&mut dice, length, quota);
        let count = members.len();
        Self {
            members,
            length,
            loss: [0, 2, 10][dice.below(3)],
            quota,
            happenings: words
                .iter()
                .map(|word| happening(&mut Dice(*word), length, count))
                .collect(),
            seed: dice.roll(),
        }
    }

    /// When the last ticket has run out.
    pub(crate) fn end(&self) -> u64 {
        let ends = self.members.iter().map(|member| member.ticket.expires_at);
        ends.max().expect("somebody")
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ticket, habits) = (&self.ticket, &self.habits);
        write!(
            f,
            "call {} party {} device {} until {}, {:?} IPv6 {}, {habits:?}",
            ticket.call.0[0],
            ticket.party,
            ticket.device,
            ticket.expires_at - testkit::START,
            self.transport,
            self.at_v6
        )
    }
}

/// Two to four parties of call 1 with one or two devices each, two parties of call 2.
fn cast(dice: &mut Dice, length: Duration, quota: usize) -> Vec<Member> {
    let parties = 2 + dice.below(3);
    let mut members = Vec::new();
    let families = [dice.below(3) == 0, false];
    for (call, party) in (0..parties).map(|party| (1, party)).chain([(2, 0), (2, 1)]) {
        for device in 0..=dice.below(2) {
            let v6 = families[usize::from(call == 2)];
            let mut member = member(dice, length, [call, party, device], v6);
            if quota < 20 {
                // What is left behind must be gone before the end.
                member.habits.lifetime = 600;
                // What is bound makes room for nobody.
                if dice.below(2) == 0 {
                    member.habits.binds_channels = false;
                    member.habits.only_channels = false;
                }
            }
            members.push(member);
        }
    }
    members
}

fn member(
    dice: &mut Dice,
    length: Duration,
    [call, party, device]: [usize; 3],
    v6: bool,
) -> Member {
    let small = |number: usize| u8::try_from(number).expect("small");
    let binds_channels = dice.below(4) != 0;
    let whole = length + CALM + Duration::from_secs(60);
    let expires = [whole / 3, whole, whole * 2][[0, 1, 1, 2][dice.below(4)]];
    let ticket = Ticket {
        device: small(device),
        expires_at: testkit::START + expires.as_secs(),
        ..testkit::ticket(small(call), small(party))
    };
    Member {
        ticket,
        transport: [Transport::Udp, Transport::Udp, Transport::Tcp][dice.below(3)],
        at_v6: dice.below(4) == 0,
        habits: Habits {
            binds_channels,
            only_channels: binds_channels && dice.below(3) == 0,
            v6,
            lifetime: [600, 600, 3600, 60][dice.below(4)],
        },
    }
}

fn happening(dice: &mut Dice, length: Duration, members: usize) -> (Duration, Happening) {
    let millis = usize::try_from(length.as_millis()).expect("small");
    let when = Duration::from_millis(u64::try_from(dice.below(millis)).expect("small"));
    let who = dice.below(members);
    let other = dice.below(members);
    let what = match dice.below(16) {
        0..=2 => Happening::Rebind(who, dice.below(2) == 0),
        3 => Happening::Inherit(who, other),
        4 | 5 => Happening::Redial(who, [1, 1, 2, 4][dice.below(4)]),
        6 => Happening::Sleep(who, [40, 310, 700][dice.below(3)]),
        7 => Happening::Leave(who),
        8 => Happening::Crash(who),
        9 | 10 => Happening::Intrude(who, other),
        11 => revoke(dice),
        12 => Happening::Weather([0, 5, 40, 100][dice.below(4)]),
        13 => clock(dice),
        _ => Happening::Restart,
    };
    (when, what)
}

fn clock(dice: &mut Dice) -> Happening {
    match dice.below(6) {
        4 => Happening::Leap(900),
        5 => Happening::Leap(10_800),
        kind => Happening::Clock([7, -7, 600, -4000][kind]),
    }
}

fn revoke(dice: &mut Dice) -> Happening {
    let [call, party, device] =
        [2, 4, 2].map(|bound| u8::try_from(dice.below(bound)).expect("small"));
    let scope = match dice.below(8) {
        0 => Scope::Call,
        1..=4 => Scope::Party(party),
        _ => Scope::Device(party, device),
    };
    Happening::Revoke(call + 1, scope)
}
