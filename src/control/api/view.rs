//! What the API answers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use vizard_proto::auth::ticket::Credential;

use crate::control::calls::{self, Call, EndReason, Happening, Phase, Traffic};
use crate::control::names;
use crate::control::offers::Offer;
use crate::control::policy::{Decision, Route};
use crate::control::problem::Because;
use crate::control::switchboard::{Decided, Handed, Tickets, Wanted, because};

/// What would be decided of a call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecisionView {
    /// How the parties may connect once everybody has answered: `refused` if not at all.
    pub(super) route: Route,
    /// The route in each phase.
    pub(super) phases: PhasesView,
    /// Which rules led to `route`: for the platform.
    pub(super) why: Vec<Because>,
    /// All that the caller may be told of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    pub(super) public_reason: Option<&'static str>,
    /// The parties, by id.
    pub(super) parties: BTreeMap<String, DecidedParty>,
}

/// The route while the call rings, and when everybody has answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PhasesView {
    /// While the call rings.
    pub(super) ringing: Route,
    /// When everybody has answered.
    pub(super) answered: Route,
}

/// What a decision means for a party.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecidedParty {
    /// Whether its address is kept from everybody.
    pub(super) masked: bool,
    /// The ids of those who may learn its address.
    pub(super) visible_to: Vec<String>,
}

/// A call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallView {
    /// Its id.
    pub(super) id: String,
    /// How far it has come.
    pub(super) phase: PhaseView,
    /// How the parties connect: `masked`, every pair is relayed; `direct`, which can only be after
    /// the answer unless `policy.ringing` is `final`.
    pub(super) route: Route,
    /// The route in each phase.
    pub(super) phases: PhasesView,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub(super) opened_at: Timestamp,
    /// When its tickets expire.
    #[schema(value_type = String, format = DateTime)]
    pub(super) expires_at: Timestamp,
    /// Seconds from the one to the other.
    pub(super) ttl: u64,
    /// The node that relays it.
    pub(super) node: String,
    /// Which rules led to `route`.
    pub(super) why: Vec<Because>,
    /// What clients have to do with the new configurations: `ice-restart`, that is
    /// `setConfiguration()` and `restartIce()`; or `set-configuration`, that is
    /// `setConfiguration()` alone, for the next ICE restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "ice-restart")]
    pub(super) apply: Option<Apply>,
    /// The parties, by id.
    pub(super) parties: BTreeMap<String, PartyView>,
    /// What happened, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) timeline: Vec<MomentView>,
    /// Who could have learned what of whom.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) exposure: Vec<ExposureView>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PhaseView {
    /// Nobody has answered.
    Ringing,
    /// Somebody has answered.
    Answered,
    /// It is over.
    Ended,
}

impl From<Phase> for PhaseView {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Ringing => Self::Ringing,
            Phase::Answered => Self::Answered,
            Phase::Ended => Self::Ended,
        }
    }
}

/// A party of a call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PartyView {
    /// Whether its address is kept from everybody.
    pub(super) masked: bool,
    /// The ids of those who may learn its address.
    pub(super) visible_to: Vec<String>,
    /// What its only device passes to `new RTCPeerConnection()`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) rtc_configuration: Option<RtcConfiguration>,
    /// Its devices by name, if it was given any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) devices: BTreeMap<String, DeviceView>,
    /// The device that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) answered_on: Option<String>,
    /// What it has sent through the relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) usage: Option<UsageView>,
}

/// A device of a party.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeviceView {
    /// What it passes to `new RTCPeerConnection()`.
    pub(super) rtc_configuration: RtcConfiguration,
}

/// The dictionary of the same name in WebRTC.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RtcConfiguration {
    /// Servers.
    pub(super) ice_servers: Vec<IceServer>,
    /// Which paths its client may take.
    pub(super) ice_transport_policy: IceTransportPolicy,
}

/// The paths that a client may take.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IceTransportPolicy {
    /// By the relay alone.
    Relay,
    /// A direct path as well.
    All,
}

/// The dictionary of the same name in WebRTC.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct IceServer {
    /// Where it is.
    #[schema(example = json!(["turn:relay.example:3478?transport=udp"]))]
    pub(super) urls: Vec<String>,
    /// The ticket: opaque.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) username: Option<String>,
    /// Its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) credential: Option<String>,
}

/// What a party has sent through the relay.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageView {
    /// Packets.
    pub(super) packets: u64,
    /// Bytes of payload.
    pub(super) bytes: u64,
}

/// Something that happened in a call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MomentView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(super) at: Timestamp,
    /// What.
    pub(super) event: EventView,
    /// The id of the party concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) party: Option<String>,
}

/// What can happen in a call.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) enum EventView {
    /// It was opened.
    #[serde(rename = "call.ringing")]
    CallRinging,
    /// A party made its first allocation.
    #[serde(rename = "party.connected")]
    PartyConnected,
    /// A party answered.
    #[serde(rename = "party.answered")]
    PartyAnswered,
    /// The parties may connect directly from here on.
    #[serde(rename = "call.direct")]
    CallDirect,
    /// It was ended.
    #[serde(rename = "call.ended")]
    CallEnded,
    /// Its tickets expired.
    #[serde(rename = "call.expired")]
    CallExpired,
}

/// What one party could have learned of another.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExposureView {
    /// The id of the party that could have learned.
    pub(super) to: String,
    /// The id of the party that it could have learned of.
    pub(super) of: String,
    /// What it could have learned.
    pub(super) what: LearnedView,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>, format = DateTime)]
    pub(super) since: Option<Timestamp>,
}

/// What can be learned of a party.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LearnedView {
    /// Nothing.
    Nothing,
    /// Its address.
    Address,
}

/// Some calls.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallList {
    /// The calls, oldest first.
    pub(super) calls: Vec<CallView>,
    /// The next page's `cursor`; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) next_cursor: Option<String>,
}

/// The decision about `wanted`.
pub(super) fn decision(wanted: &Wanted, decided: &Decided) -> DecisionView {
    let id = |index: usize| wanted.names.get(index).map(|(id, _)| id.as_str());
    let answered = &decided.answered;
    let party = |index: usize| DecidedParty {
        masked: answered.masked(index),
        visible_to: answered
            .visible_to(index)
            .iter()
            .filter_map(id)
            .map(str::to_owned)
            .collect(),
    };
    let names = wanted.names.iter().enumerate();
    DecisionView {
        route: answered.route,
        phases: PhasesView {
            ringing: decided.ringing.route,
            answered: answered.route,
        },
        why: because(&answered.why, id),
        public_reason: (answered.route == Route::Refused).then_some(Decision::PUBLIC_REASON),
        parties: names
            .map(|(index, (id, _))| (id.clone(), party(index)))
            .collect(),
    }
}

/// What clients have to do with new configurations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Apply {
    /// `setConfiguration()` and `restartIce()`.
    IceRestart,
    /// `setConfiguration()`; what is connected stays so, and the next ICE restart uses it.
    SetConfiguration,
}

/// `call` with the tickets that are handed out.
pub(super) fn handed(node: &str, handed: &Handed, apply: Option<Apply>) -> CallView {
    let Handed { call, tickets } = handed;
    let Some(tickets) = tickets else {
        return shown(node, call);
    };
    let mut view = view(node, call);
    for held in tickets.held() {
        let party = &call.parties[held.party];
        let Some(view) = view.parties.get_mut(&party.id) else {
            continue;
        };
        let rtc_configuration = configuration(tickets, &held.credential);
        match party.devices.get(held.device) {
            Some(name) => {
                let device = DeviceView { rtc_configuration };
                view.devices.insert(name.clone(), device);
            }
            None => view.rtc_configuration = Some(rtc_configuration),
        }
    }
    view.apply = apply;
    view
}

/// `call` as it is, with what happened in it.
pub(super) fn shown(node: &str, call: &Call) -> CallView {
    let mut view = view(node, call);
    for party in &call.parties {
        if let Some(view) = view.parties.get_mut(&party.id) {
            let Traffic { packets, bytes } = party.sent;
            view.usage = Some(UsageView { packets, bytes });
        }
    }
    view.timeline = timeline(call);
    view.exposure = exposure(call);
    view
}

fn view(node: &str, call: &Call) -> CallView {
    let outcome = call.outcome();
    let id = |index: usize| call.parties.get(index).map(|party| party.id.as_str());
    let masked = outcome.route != Route::Direct;
    let party = |index: usize, party: &calls::Party| PartyView {
        masked,
        visible_to: if masked {
            Vec::new()
        } else {
            others(call, index)
        },
        rtc_configuration: None,
        devices: BTreeMap::new(),
        answered_on: party.answer.as_ref().and_then(|answer| answer.name.clone()),
        usage: None,
    };
    let parties = call.parties.iter().enumerate();
    let answered = call.answered.as_ref().unwrap_or(&call.if_answered).route;
    CallView {
        id: names::written(call.id).to_string(),
        phase: call.phase().into(),
        route: outcome.route,
        phases: PhasesView {
            ringing: call.opened.route,
            answered,
        },
        opened_at: time(call.opened_at),
        expires_at: time(call.expires_at),
        ttl: call.expires_at.saturating_sub(call.opened_at),
        node: node.to_owned(),
        why: because(&outcome.why, id),
        apply: None,
        parties: parties
            .map(|(index, of)| (of.id.clone(), party(index, of)))
            .collect(),
        timeline: Vec::new(),
        exposure: Vec::new(),
    }
}

fn configuration(tickets: &Tickets, credential: &Credential) -> RtcConfiguration {
    let offers = tickets.offers();
    let relay = IceServer {
        urls: offers.iter().map(|offer| offer.url.clone()).collect(),
        username: Some(credential.username.clone()),
        credential: Some(credential.password.clone()),
    };
    match tickets.route() {
        Route::Direct => {
            let stun = IceServer {
                urls: stun_urls(offers),
                username: None,
                credential: None,
            };
            let servers = [stun, relay].into_iter();
            RtcConfiguration {
                ice_servers: servers.filter(|server| !server.urls.is_empty()).collect(),
                ice_transport_policy: IceTransportPolicy::All,
            }
        }
        Route::Masked | Route::Refused => RtcConfiguration {
            ice_servers: vec![relay],
            ice_transport_policy: IceTransportPolicy::Relay,
        },
    }
}

/// The relay as a STUN server: `stun:` has no transport and means UDP (RFC 7064).
fn stun_urls(offers: &[Offer]) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    for Offer { url, .. } in offers {
        let host = url
            .strip_prefix("turn:")
            .and_then(|url| url.strip_suffix("?transport=udp"));
        if let Some(host) = host {
            urls.push(format!("stun:{host}"));
        }
    }
    urls
}

fn others(call: &Call, index: usize) -> Vec<String> {
    let others = call
        .parties
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index);
    others.map(|(_, party)| party.id.clone()).collect()
}

fn timeline(call: &Call) -> Vec<MomentView> {
    let event = |what| match what {
        Happening::Ringing => EventView::CallRinging,
        Happening::Connected => EventView::PartyConnected,
        Happening::Answered => EventView::PartyAnswered,
        Happening::Direct => EventView::CallDirect,
        Happening::Ended => match call.end.map(|end| end.reason) {
            Some(EndReason::Expired) => EventView::CallExpired,
            _ => EventView::CallEnded,
        },
    };
    let moments = call.timeline().into_iter();
    moments
        .map(|moment| MomentView {
            at: time(moment.at),
            event: event(moment.what),
            party: moment.party.map(|index| call.parties[index].id.clone()),
        })
        .collect()
}

fn exposure(call: &Call) -> Vec<ExposureView> {
    let since = call.direct_since().map(time);
    let what = if since.is_some() {
        LearnedView::Address
    } else {
        LearnedView::Nothing
    };
    let pairs = call.parties.iter().enumerate().flat_map(|(index, of)| {
        others(call, index)
            .into_iter()
            .map(move |to| (of.id.clone(), to))
    });
    pairs
        .map(|(of, to)| ExposureView {
            to,
            of,
            what,
            since,
        })
        .collect()
}

fn time(unix_seconds: u64) -> Timestamp {
    let seconds = i64::try_from(unix_seconds).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}
