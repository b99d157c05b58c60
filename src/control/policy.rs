//! Whether a call may happen, and whether its parties may learn each other's addresses.
//!
//! [`decide`] is a pure function. Its rules, in this order:
//!
//! 1. **Refused** when a party has blocked another (in either direction), when the caller is not
//!    among those that a callee takes calls from, or when the policy wants callees to have written
//!    first and one has not. Without a named caller every party counts as the caller.
//! 2. **Masked** when any party does not admit any other to its address. One wish masks the whole
//!    call: a party carries its media under one configuration for all its pairs, so a pair is
//!    direct only where both ends are free to be, and a single masked member leaves no such end.
//!    For two parties this is "one wish masks both".
//! 3. **Masked** while the call rings, unless the policy says that ringing is as open as the rest.
//! 4. **Direct** otherwise.
//!
//! Moving any input towards more privacy never adds an exposure. What is absent counts as absent:
//! no fact, no admission. What is unknown admits nobody.

mod sets;

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use sets::{CallableBy, Facts, Members, Standing};

/// Fewest parties of a call.
pub const MIN_PARTIES: usize = 2;
/// Most parties of a call.
pub const MAX_PARTIES: usize = 16;
/// Shortest time to live of a ticket, in seconds.
pub const MIN_TTL: u32 = 30;
/// Longest time to live of a ticket, in seconds.
pub const MAX_TTL: u32 = 86_400;

/// What holds where a party did not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For parties without `reveal_address_to`.
    pub default_reveal: Reveal,
    /// What ringing calls may do.
    pub ringing: Ringing,
    /// For parties without `callable_by`.
    pub default_callable_by: CallableBy,
    /// Whether a callee must have messaged the caller before.
    pub requires_message: bool,
    /// How long tickets live unless the platform says otherwise, in seconds ([`MIN_TTL`] to
    /// `max_call`).
    pub ticket_ttl: u32,
    /// How long a call may go on, renewals included, in seconds ([`MIN_TTL`] to [`MAX_TTL`]).
    pub max_call: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_reveal: Reveal::Nobody,
            ringing: Ringing::Masked,
            default_callable_by: CallableBy::EVERYONE,
            requires_message: false,
            ticket_ttl: 7_200,
            max_call: 86_400,
        }
    }
}

/// Who may learn a party's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reveal {
    /// Nobody.
    Nobody,
    /// Whoever is among the party's contacts.
    Contacts,
    /// Everybody in the call.
    Everybody,
    /// A word that this version does not know: admits nobody.
    Unknown,
}

/// What a ringing call may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ringing {
    /// Ringing is always relayed.
    Masked,
    /// Ringing follows the parties' settings like an answered call.
    Final,
}

/// The word is none of the known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownWord;

impl FromStr for Reveal {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "nobody" => Ok(Self::Nobody),
            "contacts" => Ok(Self::Contacts),
            "everybody" => Ok(Self::Everybody),
            _ => Err(UnknownWord),
        }
    }
}

/// One party's settings, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Party {
    /// Who may learn its address; `None`: the policy's default.
    pub reveal: Option<Reveal>,
    /// Who may learn it whatever `reveal` says.
    pub always: Members,
    /// Who may not, whatever `reveal` and `always` say.
    pub never: Members,
    /// Whom it takes calls from; `None`: the policy's default.
    pub callable_by: Option<CallableBy>,
    /// What holds of it alone.
    pub standing: Standing,
    /// What holds from it towards each party, by index.
    pub towards: [Facts; MAX_PARTIES],
}

/// How far a call has come, as the policy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Somebody has yet to answer.
    Ringing,
    /// Everybody has answered.
    Answered,
}

/// Who wants to talk to whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    parties: Vec<Party>,
    caller: Option<usize>,
}

/// Fewer parties than [`MIN_PARTIES`], more than [`MAX_PARTIES`], or a caller that is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotACall;

impl Request {
    /// A call of `parties`, of whom `caller` (an index) calls the others.
    pub fn new(parties: Vec<Party>, caller: Option<usize>) -> Result<Self, NotACall> {
        let size = MIN_PARTIES..=MAX_PARTIES;
        if !size.contains(&parties.len()) || caller.is_some_and(|index| index >= parties.len()) {
            return Err(NotACall);
        }
        Ok(Self { parties, caller })
    }

    /// The parties.
    pub fn parties(&self) -> &[Party] {
        &self.parties
    }

    /// The index of the one who calls.
    pub fn caller(&self) -> Option<usize> {
        self.caller
    }

    /// Every ordered pair of different parties.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let count = self.parties.len();
        (0..count)
            .flat_map(move |from| (0..count).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
    }
}

/// How the parties may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// Every pair is relayed; nobody learns an address.
    Masked,
    /// A direct path is allowed; everybody may learn everybody's address.
    Direct,
    /// Not at all.
    Refused,
}

impl Route {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Masked, Self::Direct, Self::Refused];

    /// The word in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Direct => "direct",
            Self::Refused => "refused",
        }
    }
}

/// The rule that a decision followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The party has blocked another.
    Blocked,
    /// The party takes calls from nobody.
    CallableByNobody,
    /// The caller is none of those whom the party takes calls from.
    CallableBy,
    /// The same, among them a word that this version does not know.
    CallableByUnknown,
    /// The caller is none of those whom parties take calls from by default.
    DefaultCallableBy,
    /// The party has not messaged the caller.
    RequiresMessage,
    /// The call is not answered.
    Ringing,
    /// The other is on the party's `never` list.
    Never,
    /// The others are on the party's `always` list.
    Always,
    /// The party reveals its address to nobody.
    RevealNobody,
    /// The party reveals its address to contacts.
    RevealContacts,
    /// The party reveals its address to everybody.
    RevealEverybody,
    /// The party's `reveal_address_to` is a word that this version does not know.
    RevealUnknown,
    /// The policy's default: nobody.
    DefaultRevealNobody,
    /// The policy's default: contacts.
    DefaultRevealContacts,
    /// The policy's default: everybody.
    DefaultRevealEverybody,
    /// A fact from or about the party is a word that this version does not know.
    FactUnknown,
}

/// A rule, and the party it concerns (by index) where it concerns one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason {
    /// The party.
    pub party: Option<usize>,
    /// The rule.
    pub rule: Rule,
}

/// What [`decide`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How the parties may connect.
    pub route: Route,
    /// Which rules led there.
    pub why: Vec<Reason>,
    size: usize,
}

impl Decision {
    /// The only thing that a refused caller may be told: the same for every rule.
    pub const PUBLIC_REASON: &'static str = "This call can't be placed.";

    /// Whether party `index` is kept from the others.
    pub fn masked(&self, index: usize) -> bool {
        self.visible_to(index).is_empty()
    }

    /// Who may learn the address of party `index`.
    pub fn visible_to(&self, index: usize) -> Members {
        match self.route {
            Route::Direct if index < self.size => Members::first(self.size).without(index),
            _ => Members::NONE,
        }
    }
}

/// Whether and how the call of `request` may happen in `phase`. The rules are in the module's
/// documentation.
pub fn decide(policy: &Policy, request: &Request, phase: Phase) -> Decision {
    let decision = |route, why| Decision {
        route,
        why,
        size: request.parties.len(),
    };
    let refusals = refusals(policy, request);
    if !refusals.is_empty() {
        return decision(Route::Refused, refusals);
    }
    let wishes = wishes(policy, request);
    if wishes.masking {
        return decision(Route::Masked, wishes.why);
    }
    if phase == Phase::Ringing && policy.ringing == Ringing::Masked {
        return decision(
            Route::Masked,
            vec![Reason {
                party: None,
                rule: Rule::Ringing,
            }],
        );
    }
    decision(Route::Direct, wishes.why)
}

fn refusals(policy: &Policy, request: &Request) -> Vec<Reason> {
    let mut why = Vec::new();
    for (from, to) in request.pairs() {
        if request.parties[from].towards[to].has(Facts::BLOCKED) {
            note(&mut why, from, Rule::Blocked);
        }
    }
    for (callee, caller) in request.pairs() {
        if request.caller.is_some_and(|named| named != caller) {
            continue;
        }
        if let Some(rule) = not_callable(policy, request, callee, caller) {
            note(&mut why, callee, rule);
        }
        let towards = request.parties[callee].towards[caller];
        if policy.requires_message && !towards.has(Facts::MESSAGED) {
            note(&mut why, callee, Rule::RequiresMessage);
        }
    }
    why
}

/// Why `owner` takes no call from `by`; `None` if it does.
fn not_callable(policy: &Policy, request: &Request, owner: usize, by: usize) -> Option<Rule> {
    let own = request.parties[owner].callable_by;
    let set = own.unwrap_or(policy.default_callable_by);
    let towards = request.parties[owner].towards[by];
    let callable = set.has(CallableBy::EVERYONE)
        || set.has(CallableBy::CONTACTS) && towards.has(Facts::CONTACT)
        || set.has(CallableBy::FOLLOWING) && towards.has(Facts::FOLLOWING)
        || set.has(CallableBy::VERIFIED) && request.parties[by].standing.has(Standing::VERIFIED);
    if callable {
        None
    } else if own.is_none() {
        Some(Rule::DefaultCallableBy)
    } else if set.has(CallableBy::UNKNOWN) {
        Some(Rule::CallableByUnknown)
    } else if set == CallableBy::NONE {
        Some(Rule::CallableByNobody)
    } else {
        Some(Rule::CallableBy)
    }
}

/// What the parties want: every wish to be masked or, where there is none, what admits everybody.
struct Wishes {
    masking: bool,
    why: Vec<Reason>,
}

fn wishes(policy: &Policy, request: &Request) -> Wishes {
    let mut masking = Vec::new();
    let mut admitting = Vec::new();
    for (owner, other) in request.pairs() {
        match admission(policy, &request.parties[owner], other) {
            Ok(rule) => note(&mut admitting, owner, rule),
            Err(rule) => note(&mut masking, owner, rule),
        }
    }
    if masking.is_empty() {
        Wishes {
            masking: false,
            why: admitting,
        }
    } else {
        Wishes {
            masking: true,
            why: masking,
        }
    }
}

/// By which rule `owner` admits (`Ok`) or does not admit (`Err`) party `other` to its address.
fn admission(policy: &Policy, owner: &Party, other: usize) -> Result<Rule, Rule> {
    let towards = owner.towards[other];
    if towards.has(Facts::UNKNOWN) || owner.standing.has(Standing::UNKNOWN) {
        return Err(Rule::FactUnknown);
    }
    if owner.never.contains(other) {
        return Err(Rule::Never);
    }
    if owner.always.contains(other) {
        return Ok(Rule::Always);
    }
    let contact = towards.has(Facts::CONTACT);
    let by_default = owner.reveal.is_none();
    let reveal = owner.reveal.unwrap_or(policy.default_reveal);
    let (admits, own, default) = match reveal {
        Reveal::Nobody => (false, Rule::RevealNobody, Rule::DefaultRevealNobody),
        Reveal::Contacts => (contact, Rule::RevealContacts, Rule::DefaultRevealContacts),
        Reveal::Everybody => (true, Rule::RevealEverybody, Rule::DefaultRevealEverybody),
        Reveal::Unknown => (false, Rule::RevealUnknown, Rule::RevealUnknown),
    };
    let rule = if by_default { default } else { own };
    if admits { Ok(rule) } else { Err(rule) }
}

/// Adds a reason, once.
fn note(why: &mut Vec<Reason>, party: usize, rule: Rule) {
    let reason = Reason {
        party: Some(party),
        rule,
    };
    if !why.contains(&reason) {
        why.push(reason);
    }
}
