//! How a call is written: a version, its expiry and its end, then JSON of the fields below.
//!
//! These are the words of the file, not of the program. A field that is not known here is an
//! error: a later version may have meant something by it that must not be lost. Version 1 had
//! neither a version nor an end in front, and the call's name among its fields.

use serde::{Deserialize, Serialize};
use vizard_proto::auth::ticket::CallId;

use crate::control::calls::{Answer, Call, End, EndReason, Outcome, Party, Traffic};
use crate::control::policy::{
    self, CallableBy, Facts, MAX_PARTIES, Members, Reason, Request, Reveal, Route, Rule, Standing,
};

/// The version that is written.
pub(super) const VERSION: u8 = 2;
/// Version, expiry, end.
const HEAD: usize = 1 + 8 + 8;
/// Bytes of usage for each party: when it connected, packets, bytes.
const USAGE: usize = 3 * 8;

/// What stands in front of the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Unix seconds at which the call's tickets expire.
    pub(super) expires_at: u64,
    /// Unix seconds at which it ended.
    pub(super) ended_at: Option<u64>,
}

impl Head {
    /// The head of a record; `None` if it is none of [`VERSION`].
    pub(super) fn of(record: &[u8]) -> Option<Self> {
        let (head, _) = record.split_first_chunk::<HEAD>()?;
        let number = |at: usize| head[at..at + 8].try_into().map(u64::from_be_bytes).ok();
        (head[0] == VERSION).then_some(())?;
        Some(Self {
            expires_at: number(1)?,
            ended_at: number(9)?.checked_sub(1),
        })
    }
}

/// The record of `call`.
pub(super) fn write(call: &Call) -> Vec<u8> {
    let mut record = Vec::with_capacity(1024);
    record.push(VERSION);
    record.extend_from_slice(&call.expires_at.to_be_bytes());
    let ended = call.end.map_or(0, |end| end.at.saturating_add(1));
    record.extend_from_slice(&ended.to_be_bytes());
    serde_json::to_writer(&mut record, &CallRecord::of(call)).expect("plain data in memory");
    record
}

/// A record of a call that can't be read, with its expiry.
pub(super) fn unreadable(expires_at: u64) -> Vec<u8> {
    let ended = [0; 8];
    [&[VERSION][..], &expires_at.to_be_bytes(), &ended].concat()
}

/// The call of that name in `record`, if this version understands it.
pub(super) fn read(id: CallId, record: &[u8]) -> Option<Call> {
    Head::of(record)?;
    let fields: CallRecord = serde_json::from_slice(record.get(HEAD..)?).ok()?;
    fields.call(id)
}

/// The call in a record of version 1, with its expiry if not more can be read.
pub(super) fn read_first_version(id: CallId, record: &[u8]) -> (u64, Option<Call>) {
    let Some((expiry, json)) = record.split_first_chunk::<8>() else {
        return (u64::MAX, None);
    };
    let read = || {
        let mut fields: serde_json::Map<_, _> = serde_json::from_slice(json).ok()?;
        fields.remove("id")?;
        serde_json::from_value::<CallRecord>(fields.into())
            .ok()?
            .call(id)
    };
    (u64::from_be_bytes(*expiry), read())
}

/// What the parties of `call` have sent, and when they connected.
pub(super) fn write_usage(call: &Call) -> Vec<u8> {
    let mut usage = Vec::with_capacity(call.parties.len() * USAGE);
    for party in &call.parties {
        let connected = party.connected_at.map_or(0, |at| at.saturating_add(1));
        for number in [connected, party.sent.packets, party.sent.bytes] {
            usage.extend_from_slice(&number.to_be_bytes());
        }
    }
    usage
}

/// Adds to `call` what [`write_usage`] wrote, where that knows more.
pub(super) fn add_usage(call: &mut Call, usage: &[u8]) {
    for (party, usage) in call.parties.iter_mut().zip(usage.chunks_exact(USAGE)) {
        let mut numbers = usage
            .chunks_exact(8)
            .map(|bytes| bytes.try_into().map_or(0, u64::from_be_bytes));
        let mut next = || numbers.next().unwrap_or_default();
        party.connected_at = party.connected_at.or(next().checked_sub(1));
        party.sent.packets = party.sent.packets.max(next());
        party.sent.bytes = party.sent.bytes.max(next());
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallRecord {
    opened_at: u64,
    expires_at: u64,
    kbps: u32,
    request: RequestRecord,
    parties: Vec<PartyRecord>,
    opened: OutcomeRecord,
    if_answered: OutcomeRecord,
    answered: Option<OutcomeRecord>,
    end: Option<EndRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestRecord {
    parties: Vec<SettingsRecord>,
    caller: Option<usize>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsRecord {
    reveal: Option<Reveal>,
    always: Members,
    never: Members,
    callable_by: Option<CallableBy>,
    standing: Standing,
    towards: Vec<Facts>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartyRecord {
    id: String,
    devices: Vec<String>,
    answer: Option<AnswerRecord>,
    connected_at: Option<u64>,
    sent: TrafficRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerRecord {
    at: u64,
    device: usize,
    name: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrafficRecord {
    packets: u64,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeRecord {
    at: u64,
    route: Route,
    why: Vec<ReasonRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonRecord {
    party: Option<usize>,
    rule: Rule,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndRecord {
    at: u64,
    reason: EndReason,
}

impl CallRecord {
    fn of(call: &Call) -> Self {
        let settings = call.request.parties();
        Self {
            opened_at: call.opened_at,
            expires_at: call.expires_at,
            kbps: call.kbps,
            request: RequestRecord {
                parties: settings
                    .iter()
                    .map(|party| SettingsRecord::of(party, settings.len()))
                    .collect(),
                caller: call.request.caller(),
            },
            parties: call.parties.iter().map(PartyRecord::of).collect(),
            opened: OutcomeRecord::of(&call.opened),
            if_answered: OutcomeRecord::of(&call.if_answered),
            answered: call.answered.as_ref().map(OutcomeRecord::of),
            end: call.end.map(|end| EndRecord {
                at: end.at,
                reason: end.reason,
            }),
        }
    }

    /// The call, unless its parts do not belong together.
    fn call(self, id: CallId) -> Option<Call> {
        let settings = self.request.parties.into_iter();
        let settings: Vec<_> = settings
            .map(SettingsRecord::settings)
            .collect::<Option<_>>()?;
        let parties: Vec<_> = self.parties.into_iter().map(PartyRecord::party).collect();
        (settings.len() == parties.len()).then_some(())?;
        let answers = parties.iter().filter_map(|party| {
            let answer = party.answer.as_ref()?;
            Some(answer.device < party.device_count())
        });
        answers.into_iter().all(|possible| possible).then_some(())?;
        Some(Call {
            id,
            opened_at: self.opened_at,
            expires_at: self.expires_at,
            kbps: self.kbps,
            request: Request::new(settings, self.request.caller).ok()?,
            parties,
            opened: self.opened.outcome(),
            if_answered: self.if_answered.outcome(),
            answered: self.answered.map(OutcomeRecord::outcome),
            end: self.end.map(|end| End {
                at: end.at,
                reason: end.reason,
            }),
        })
    }
}

impl SettingsRecord {
    fn of(party: &policy::Party, parties: usize) -> Self {
        Self {
            reveal: party.reveal,
            always: party.always,
            never: party.never,
            callable_by: party.callable_by,
            standing: party.standing,
            towards: party.towards.iter().take(parties).copied().collect(),
        }
    }

    fn settings(self) -> Option<policy::Party> {
        let mut towards = [Facts::NONE; MAX_PARTIES];
        towards
            .get_mut(..self.towards.len())?
            .copy_from_slice(&self.towards);
        Some(policy::Party {
            reveal: self.reveal,
            always: self.always,
            never: self.never,
            callable_by: self.callable_by,
            standing: self.standing,
            towards,
        })
    }
}

impl PartyRecord {
    fn of(party: &Party) -> Self {
        Self {
            id: party.id.clone(),
            devices: party.devices.clone(),
            answer: party.answer.as_ref().map(|answer| AnswerRecord {
                at: answer.at,
                device: answer.device,
                name: answer.name.clone(),
            }),
            connected_at: party.connected_at,
            sent: TrafficRecord {
                packets: party.sent.packets,
                bytes: party.sent.bytes,
            },
        }
    }

    fn party(self) -> Party {
        Party {
            id: self.id,
            devices: self.devices,
            answer: self.answer.map(|answer| Answer {
                at: answer.at,
                device: answer.device,
                name: answer.name,
            }),
            connected_at: self.connected_at,
            sent: Traffic {
                packets: self.sent.packets,
                bytes: self.sent.bytes,
            },
        }
    }
}

impl OutcomeRecord {
    fn of(outcome: &Outcome) -> Self {
        let reasons = outcome.why.iter();
        Self {
            at: outcome.at,
            route: outcome.route,
            why: reasons
                .map(|reason| ReasonRecord {
                    party: reason.party,
                    rule: reason.rule,
                })
                .collect(),
        }
    }

    fn outcome(self) -> Outcome {
        let reasons = self.why.into_iter();
        Outcome {
            at: self.at,
            route: self.route,
            why: reasons
                .map(|reason| Reason {
                    party: reason.party,
                    rule: reason.rule,
                })
                .collect(),
        }
    }
}
