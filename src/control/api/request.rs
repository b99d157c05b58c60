//! What a request to open or to decide a call says, and what is made of it.
//!
//! What the types' descriptions say of fields, numbers of items and ranges has been held against the
//! body by `shape`. An unknown word in a privacy field is no error: it is taken as the most private
//! one, and the decision's `why` says so.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroU32;

use serde::Deserialize;
use utoipa::ToSchema;

use super::name::{self, Name};
use super::shape::MAX_FAULTS;
use crate::control::policy::{self, CallableBy, Facts, Members, Request, Reveal, Standing};
use crate::control::problem::{Fault, Kind, Problem};
use crate::control::switchboard::Wanted;

/// A call that may be opened: who with whom, and what is known of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CallRequest {
    /// The parties, 2 to 16.
    #[schema(min_items = 2, max_items = 16)]
    pub(super) parties: Vec<PartyRequest>,
    /// The id of the party that calls the others. Without it everybody must be callable by
    /// everybody.
    #[schema(value_type = Option<Name>)]
    pub(super) caller: Option<String>,
    /// What holds between the parties and of each. Absent facts count as absent.
    #[serde(default)]
    #[schema(max_items = 512)]
    pub(super) facts: Vec<FactRequest>,
    /// Seconds that the tickets live, and with them the call unless it is renewed: 30 up to
    /// `policy.max_call`. Absent: `policy.ticket_ttl`.
    #[schema(minimum = 30, maximum = 86400, example = 7200)]
    pub(super) ttl: Option<u32>,
    /// Limits of the call's tickets.
    pub(super) limits: Option<LimitsRequest>,
}

/// A party and its settings.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PartyRequest {
    /// The platform's name for it, different from the others'.
    #[schema(value_type = Name)]
    pub(super) id: String,
    /// Who may learn its address: `nobody`, `contacts` (looks at the facts from this party) or
    /// `everybody`. Any other word counts as `nobody`. Absent: `policy.default_reveal`.
    #[schema(example = "nobody")]
    pub(super) reveal_address_to: Option<String>,
    /// Ids of parties that may learn it anyway.
    #[serde(default)]
    #[schema(max_items = 1024, value_type = Vec<Name>)]
    pub(super) always: Vec<String>,
    /// Ids of parties that may not; wins over `always`.
    #[serde(default)]
    #[schema(max_items = 1024, value_type = Vec<Name>)]
    pub(super) never: Vec<String>,
    /// Whom it takes calls from: any of `contacts`, `following`, `verified`, `everyone`. Any other
    /// word admits nobody, and so does the empty list. Absent: `policy.default_callable_by`.
    #[schema(max_items = 16, example = json!(["following", "verified"]))]
    pub(super) callable_by: Option<Vec<String>>,
    /// Names of its devices, each of which gets a ticket of its own: 1 to 8. Absent: one device
    /// without a name.
    #[schema(min_items = 1, max_items = 8, value_type = Option<Vec<Name>>)]
    pub(super) devices: Option<Vec<String>>,
    /// Addresses of a static party, `IP:PORT` or `IP:FIRST-LAST`. This version refuses them with
    /// `/problems/static-party-unavailable`.
    #[schema(min_items = 1, max_items = 64)]
    pub(super) addresses: Option<Vec<String>>,
}

/// What holds from one party towards another (`from`, `to`), or of one party alone (`party`).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FactRequest {
    /// The id of the party that the fact is about, with `to`.
    #[schema(value_type = Option<Name>)]
    pub(super) from: Option<String>,
    /// The id of the party that it is directed at, with `from`.
    #[schema(value_type = Option<Name>)]
    pub(super) to: Option<String>,
    /// The id of the party that the fact is about, alone.
    #[schema(value_type = Option<Name>)]
    pub(super) party: Option<String>,
    /// Directed: `contact`, `following`, `messaged`, `blocked`, read from left to right. Alone:
    /// `verified`. Any other word masks the call.
    #[schema(max_items = 16, example = json!(["following", "messaged"]))]
    pub(super) is: Vec<String>,
}

/// Limits of a call's tickets.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsRequest {
    /// Kilobits per second that one device may send, 60 bytes of headers a packet included.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32, example = 4000)]
    pub(super) kbps: Option<u32>,
}

/// Which party answers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerRequest {
    /// Its id.
    #[schema(value_type = Name)]
    pub(super) party: String,
    /// Its device; needed if it has several.
    #[schema(value_type = Option<Name>)]
    pub(super) device: Option<String>,
}

/// How much longer a call may go on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewRequest {
    /// Seconds from here on: 30 up to `policy.max_call`, which the call as a whole does not
    /// outlast. Absent: `policy.ticket_ttl`. What the call already has it keeps.
    #[schema(minimum = 30, maximum = 86400, example = 7200)]
    pub(super) ttl: Option<u32>,
}

impl CallRequest {
    /// What the request wants, or everything that is wrong with it.
    pub(super) fn wanted(mut self) -> Result<Wanted, Problem> {
        self.names().for_each(compose);
        let mut faults = Faults::default();
        let ids: Vec<&str> = self.parties.iter().map(|party| party.id.as_str()).collect();
        faults.check_parties(&ids);
        let mut parties: Vec<_> = self
            .parties
            .iter()
            .enumerate()
            .map(|(index, party)| party.settings(index, &ids, &mut faults))
            .collect();
        let find = |id: &str| ids.iter().position(|known| *known == id);
        for (index, fact) in self.facts.iter().enumerate() {
            fact.add_to(&mut parties, find, &format!("facts[{index}]"), &mut faults);
        }
        let caller = self
            .caller
            .as_deref()
            .map(|id| faults.known(find(id), "caller"));
        let kbps = self.limits.as_ref().and_then(|limits| limits.kbps);
        if kbps == Some(0) {
            faults.add("limits.kbps", "must be 1 or more");
        }
        faults.into_result()?;
        if self.parties.iter().any(|party| party.addresses.is_some()) {
            let detail = "A party with addresses needs [open] relay_ports, which this version does \
                          not have.";
            return Err(Problem::new(Kind::StaticPartyUnavailable, detail));
        }
        let request = Request::new(parties, caller.flatten())
            .map_err(|_| Problem::fault("parties", "must be 2 to 16"))?;
        let names = self.parties.into_iter();
        Ok(Wanted {
            names: names
                .map(|party| (party.id, party.devices.unwrap_or_default()))
                .collect(),
            request,
            ttl: self.ttl,
            kbps: kbps.and_then(NonZeroU32::new),
        })
    }

    /// All names in the request.
    fn names(&mut self) -> impl Iterator<Item = &mut String> {
        let parties = self.parties.iter_mut().flat_map(|party| {
            let lists = [&mut party.always, &mut party.never].into_iter().flatten();
            let devices = party.devices.iter_mut().flatten();
            std::iter::once(&mut party.id).chain(lists).chain(devices)
        });
        let facts = self.facts.iter_mut();
        let facts = facts.flat_map(|fact| [&mut fact.from, &mut fact.to, &mut fact.party]);
        parties.chain(facts.flatten()).chain(&mut self.caller)
    }
}

impl AnswerRequest {
    /// The names of the party and its device, as they are kept.
    pub(super) fn names(mut self) -> (String, Option<String>) {
        compose(&mut self.party);
        self.device.iter_mut().for_each(compose);
        (self.party, self.device)
    }
}

fn compose(name: &mut String) {
    if let Cow::Owned(composed) = name::composed(name) {
        *name = composed;
    }
}

impl PartyRequest {
    fn settings(&self, index: usize, ids: &[&str], faults: &mut Faults) -> policy::Party {
        let at = format!("parties[{index}]");
        if let Some(devices) = &self.devices {
            faults.check_devices(&at, devices);
        }
        if let Some(addresses) = &self.addresses {
            faults.check_addresses(&at, addresses);
        }
        let reveal = self.reveal_address_to.as_deref();
        policy::Party {
            reveal: reveal.map(|word| word.parse().unwrap_or(Reveal::Unknown)),
            always: listed(&self.always, ids).without(index),
            never: listed(&self.never, ids).without(index),
            callable_by: self.callable_by.as_deref().map(callable_by),
            ..policy::Party::default()
        }
    }
}

impl FactRequest {
    fn add_to(
        &self,
        parties: &mut [policy::Party],
        find: impl Fn(&str) -> Option<usize>,
        at: &str,
        faults: &mut Faults,
    ) {
        let index = |id: &str, field: &str, faults: &mut Faults| {
            faults.known(find(id), &format!("{at}.{field}"))
        };
        match (&self.from, &self.to, &self.party) {
            (Some(from), Some(to), None) => {
                let (from, to) = (index(from, "from", faults), index(to, "to", faults));
                let (Some(from), Some(to)) = (from, to) else {
                    return;
                };
                if from == to {
                    return faults.add(format!("{at}.to"), "is the same party as `from`");
                }
                let Some(towards) = parties[from].towards.get_mut(to) else {
                    return;
                };
                for word in &self.is {
                    *towards = towards.and(Facts::of_word(word).unwrap_or(Facts::UNKNOWN));
                }
            }
            (None, None, Some(party)) => {
                let Some(party) = index(party, "party", faults) else {
                    return;
                };
                let standing = &mut parties[party].standing;
                for word in &self.is {
                    *standing = standing.and(Standing::of_word(word).unwrap_or(Standing::UNKNOWN));
                }
            }
            _ => faults.add(at, "needs either `from` and `to`, or `party` alone"),
        }
    }
}

fn callable_by(words: &[String]) -> CallableBy {
    words.iter().fold(CallableBy::NONE, |set, word| {
        set.and(CallableBy::of_word(word).unwrap_or(CallableBy::UNKNOWN))
    })
}

/// Those of `ids` that are in the list; it may name others, who are not in the call.
fn listed(list: &[String], ids: &[&str]) -> Members {
    ids.iter()
        .enumerate()
        .filter(|(_, id)| list.iter().any(|listed| listed == *id))
        .fold(Members::NONE, |members, (index, _)| members.with(index))
}

/// What is wrong with a request.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, path: impl Into<String>, detail: impl Into<String>) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(Fault {
                path: path.into(),
                detail: detail.into(),
            });
        }
    }

    fn known(&mut self, index: Option<usize>, path: &str) -> Option<usize> {
        if index.is_none() {
            self.add(path, "is the id of no party of this call");
        }
        index
    }

    fn check_parties(&mut self, ids: &[&str]) {
        for (index, id) in ids.iter().enumerate() {
            self.check_name(format!("parties[{index}].id"), id);
            if ids[..index].contains(id) {
                self.add(
                    format!("parties[{index}].id"),
                    "is the id of an earlier party",
                );
            }
        }
    }

    fn check_devices(&mut self, at: &str, devices: &[String]) {
        for (index, device) in devices.iter().enumerate() {
            self.check_name(format!("{at}.devices[{index}]"), device);
            if devices[..index].contains(device) {
                self.add(
                    format!("{at}.devices[{index}]"),
                    "is the name of an earlier device",
                );
            }
        }
    }

    fn check_addresses(&mut self, at: &str, addresses: &[String]) {
        for (index, address) in addresses.iter().enumerate() {
            if !is_address_with_ports(address) {
                let path = format!("{at}.addresses[{index}]");
                self.add(
                    path,
                    "must be IP:PORT or IP:FIRST-LAST, an IPv6 address in brackets",
                );
            }
        }
    }

    fn check_name(&mut self, path: String, name: &str) {
        if let Some(fault) = name::fault(name) {
            self.add(path, fault);
        }
    }

    fn into_result(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Problem::faults(self.0))
    }
}

fn is_address_with_ports(text: &str) -> bool {
    let Some((ip, ports)) = text.rsplit_once(':') else {
        return false;
    };
    let ip = match ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
        Some(ip) => ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()),
        None => ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()),
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let range = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
    ip && range.is_some_and(|(first, last)| 0 < first && first <= last)
}
