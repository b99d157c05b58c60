//! One call: a state machine that takes the time as an argument.
//!
//! `ringing -> answered -> ended`. A [`Call`] is everything that has to survive a restart; its
//! tickets are not in it, because the same ticket under the same keys is the same credential.
//!
//! A party's device has one ticket per generation: the first for the opened call and, when the
//! answer makes the call direct, the second for the ICE restart. Tickets of the first generation
//! live on meanwhile, except those of devices that lost the race to answer.

mod tickets;

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vizard_proto::auth::ticket::CallId;
use vizard_proto::contract::Scope;

use super::policy::{self, Decision, Policy, Reason, Request, Route};

pub use tickets::Generation;

/// Most devices of one party.
pub const MAX_DEVICES: usize = 8;

/// A call, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub id: CallId,
    /// Unix seconds.
    pub opened_at: u64,
    /// Unix seconds at which its tickets expire, and with them the call.
    pub expires_at: u64,
    /// Limit for what one ticket sends, in kilobits per second with 60 bytes of headers a packet; 0
    /// is none.
    pub kbps: u32,
    /// What the policy was asked.
    pub request: Request,
    /// The parties, in the request's order.
    pub parties: Vec<Party>,
    /// What the policy said when the call was opened.
    pub opened: Outcome,
    /// What it said at that time of the answered call.
    pub if_answered: Outcome,
    /// What holds since everybody has answered.
    pub answered: Option<Outcome>,
    /// How it ended.
    pub end: Option<End>,
}

/// A route and the rules that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Unix seconds since when it holds.
    pub at: u64,
    /// The route.
    pub route: Route,
    /// The rules.
    pub why: Vec<Reason>,
}

impl Outcome {
    /// What `decision` says, at `at`.
    pub fn new(at: u64, decision: Decision) -> Self {
        Self {
            at,
            route: decision.route,
            why: decision.why,
        }
    }
}

/// A party of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The platform's name for it.
    pub id: String,
    /// The names of its devices; none: one device without a name.
    pub devices: Vec<String>,
    /// How it answered.
    pub answer: Option<Answer>,
    /// Unix seconds of its first allocation.
    pub connected_at: Option<u64>,
    /// What it has sent.
    pub sent: Traffic,
}

/// Which device answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Unix seconds.
    pub at: u64,
    /// Its index among the party's devices.
    pub device: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
}

/// Packets and payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes of payload, without TURN headers.
    pub bytes: u64,
}

impl Traffic {
    /// Both together.
    #[must_use]
    pub fn plus(self, packets: u64, bytes: u64) -> Self {
        Self {
            packets: self.packets.saturating_add(packets),
            bytes: self.bytes.saturating_add(bytes),
        }
    }
}

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Unix seconds.
    pub at: u64,
    /// Why.
    pub reason: EndReason,
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The platform ended it.
    Requested,
    /// Its time to live is over.
    Expired,
    /// The store had lost what happened last, so that it may have been ended before.
    Lost,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nobody has answered.
    Ringing,
    /// Somebody has answered.
    Answered,
    /// It is over.
    Ended,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ringing, Self::Answered, Self::Ended];

    /// The word in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Ended => "ended",
        }
    }
}

impl FromStr for Phase {
    type Err = policy::UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|phase| phase.as_str() == word)
            .ok_or(policy::UnknownWord)
    }
}

/// What an answer changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Whether anything changed; the same device may answer twice.
    pub changed: bool,
    /// Whether the call became direct by this answer.
    pub became_direct: bool,
    /// Devices whose tickets are dead from here on.
    pub lost: Vec<Scope>,
}

/// Why nobody answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The call is over.
    Ended,
    /// No party has that name.
    NoSuchParty,
    /// Who calls does not answer.
    IsCaller,
    /// The party has several devices and none was named.
    DeviceRequired,
    /// The party has no device of that name.
    NoSuchDevice,
    /// Another device of the party has answered.
    Elsewhere,
}

/// Something that happened in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Unix seconds.
    pub at: u64,
    /// What.
    pub what: Happening,
    /// The index of the party concerned.
    pub party: Option<usize>,
}

/// What can happen in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// It was opened.
    Ringing,
    /// A party made its first allocation.
    Connected,
    /// A party answered.
    Answered,
    /// The parties may connect directly from here on.
    Direct,
    /// It ended.
    Ended,
}

impl Call {
    /// How far it has come.
    pub fn phase(&self) -> Phase {
        if self.end.is_some() {
            Phase::Ended
        } else if self.parties.iter().any(|party| party.answer.is_some()) {
            Phase::Answered
        } else {
            Phase::Ringing
        }
    }

    /// What holds of its route.
    pub fn outcome(&self) -> &Outcome {
        self.answered.as_ref().unwrap_or(&self.opened)
    }

    /// Since when the parties may know each other's addresses; `None`: they can't.
    pub fn direct_since(&self) -> Option<u64> {
        [Some(&self.opened), self.answered.as_ref()]
            .into_iter()
            .flatten()
            .find(|outcome| outcome.route == Route::Direct)
            .map(|outcome| outcome.at)
    }

    /// `device` of party `id` answers. On an error nothing has changed.
    ///
    /// The call can become direct when everybody has answered, if both the policy of its opening
    /// and `policy` admit it: in a group, the phones of those who have not answered learn nothing.
    pub fn answer(
        &mut self,
        policy: &Policy,
        id: &str,
        device: Option<&str>,
        now: u64,
    ) -> Result<Answered, AnswerError> {
        self.settle(now);
        if self.end.is_some() {
            return Err(AnswerError::Ended);
        }
        let index = self.party(id).ok_or(AnswerError::NoSuchParty)?;
        if self.request.caller() == Some(index) {
            return Err(AnswerError::IsCaller);
        }
        let answer = Answer {
            at: now,
            ..self.parties[index].answering(device)?
        };
        if let Some(earlier) = &self.parties[index].answer {
            let same = (earlier.device, &earlier.name) == (answer.device, &answer.name);
            return if same {
                Ok(Answered::default())
            } else {
                Err(AnswerError::Elsewhere)
            };
        }
        self.parties[index].answer = Some(answer);
        let became_direct = self.decide_again(policy, now);
        Ok(Answered {
            changed: true,
            became_direct,
            lost: self.lost(index),
        })
    }

    /// Ends the call because the platform wants it, once.
    pub fn finish(&mut self, now: u64) {
        self.settle(now);
        self.end.get_or_insert(End {
            at: now,
            reason: EndReason::Requested,
        });
    }

    /// Ends the call because nobody knows whether it was ended before, once.
    pub fn lose(&mut self, now: u64) {
        self.settle(now);
        self.end.get_or_insert(End {
            at: now,
            reason: EndReason::Lost,
        });
    }

    /// Ends the call if its time is over by `now`.
    pub fn settle(&mut self, now: u64) {
        if now >= self.expires_at {
            self.expire(now);
        }
    }

    /// Ends the call because its time is over, whatever the clock shows, once.
    pub fn expire(&mut self, now: u64) {
        self.end.get_or_insert(End {
            at: self.expires_at.min(now),
            reason: EndReason::Expired,
        });
    }

    /// Has the call and its tickets live until `ttl` seconds from `now`, but no longer than
    /// `longest` seconds since it was opened; what they already have they keep.
    pub fn renew(&mut self, now: u64, ttl: u32, longest: u32) {
        let wanted = now.saturating_add(u64::from(ttl));
        let most = self.opened_at.saturating_add(u64::from(longest));
        self.expires_at = self.expires_at.max(wanted.min(most));
    }

    /// The index of the party with that name.
    pub fn party(&self, id: &str) -> Option<usize> {
        self.parties.iter().position(|party| party.id == id)
    }

    /// What happened, in order.
    pub fn timeline(&self) -> Vec<Moment> {
        let moment = |at, what, party| Moment { at, what, party };
        let mut moments = vec![moment(self.opened_at, Happening::Ringing, None)];
        for (index, party) in self.parties.iter().enumerate() {
            let connected = party.connected_at;
            moments.extend(connected.map(|at| moment(at, Happening::Connected, Some(index))));
            let answer = party.answer.as_ref();
            moments
                .extend(answer.map(|answer| moment(answer.at, Happening::Answered, Some(index))));
        }
        moments.extend(
            self.direct_since()
                .map(|at| moment(at, Happening::Direct, None)),
        );
        moments.extend(self.end.map(|end| moment(end.at, Happening::Ended, None)));
        moments.sort_by_key(|moment| (moment.at, moment.what));
        moments
    }

    /// Asks the policy once more when the last party has answered; whether the call became direct.
    fn decide_again(&mut self, policy: &Policy, now: u64) -> bool {
        let answers = self
            .parties
            .iter()
            .filter(|party| party.answer.is_some())
            .count();
        // All but the caller: where nobody is named as such, whoever is left over is.
        if self.answered.is_some() || answers + 1 < self.parties.len() {
            return false;
        }
        let mut outcome = if self.opened.route == Route::Direct {
            self.opened.clone()
        } else if self.if_answered.route == Route::Direct {
            Outcome::new(
                now,
                policy::decide(policy, &self.request, policy::Phase::Answered),
            )
        } else {
            self.if_answered.clone()
        };
        outcome.at = now;
        if outcome.route == Route::Refused {
            // The policy became stricter while it rang: the call goes on, masked.
            outcome.route = Route::Masked;
        }
        self.answered = Some(outcome);
        self.restarted()
    }
}

impl Party {
    /// A party of that name that nobody has heard of yet.
    pub fn new(id: String, devices: Vec<String>) -> Self {
        Self {
            id,
            devices,
            answer: None,
            connected_at: None,
            sent: Traffic::default(),
        }
    }

    /// How many devices it has: 1 to [`MAX_DEVICES`].
    pub fn device_count(&self) -> usize {
        self.devices.len().max(1)
    }

    /// The answer that `device` would give; its time is left open.
    fn answering(&self, device: Option<&str>) -> Result<Answer, AnswerError> {
        let name = device.map(str::to_owned);
        let index = match (self.devices.as_slice(), device) {
            // One ticket, and the platform may give a name to whoever holds it.
            ([], _) => {
                return Ok(Answer {
                    at: 0,
                    device: 0,
                    name,
                });
            }
            ([_], None) => 0,
            (_, None) => return Err(AnswerError::DeviceRequired),
            (devices, Some(device)) => devices
                .iter()
                .position(|known| known == device)
                .ok_or(AnswerError::NoSuchDevice)?,
        };
        Ok(Answer {
            at: 0,
            device: index,
            name: Some(self.devices[index].clone()),
        })
    }
}
