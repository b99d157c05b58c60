//! What the API answers to whoever opens a call: the call, with a configuration for each party.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::view::{CallView, DeviceView, PartyView, PhaseView, PhasesView, RtcConfiguration};
use crate::control::policy::Route;
use crate::control::problem::Because;

/// A call that was opened, with its tickets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenedCall {
    /// Its id.
    id: String,
    /// How far it has come.
    phase: PhaseView,
    /// How the parties connect.
    route: Route,
    /// The route in each phase.
    phases: PhasesView,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    opened_at: Timestamp,
    /// When its tickets expire.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Seconds from the one to the other.
    ttl: u64,
    /// The node that relays it.
    node: String,
    /// Which rules led to `route`.
    why: Vec<Because>,
    /// The parties, by id.
    parties: BTreeMap<String, OpenedParty>,
}

/// A party of a call that was opened.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OpenedParty {
    /// Whether its address is kept from everybody.
    masked: bool,
    /// The ids of those who may learn its address.
    visible_to: Vec<String>,
    /// What it passes to `new RTCPeerConnection()`. Of a party with `devices` this is the first
    /// one's, so that nothing is ever missing here: without a configuration a browser connects
    /// directly.
    rtc_configuration: RtcConfiguration,
    /// Its devices by name, if it was given any. Each has a ticket of its own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    devices: BTreeMap<String, DeviceView>,
    /// The device that has answered meanwhile, where a request was repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    answered_on: Option<String>,
}

impl OpenedCall {
    /// The same as `call`, in which `names` are the devices of each party in the request's order.
    /// `None` if a party has no ticket.
    pub(super) fn of(
        call: CallView,
        first_device: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        let parties = call.parties.into_iter().map(|(id, party)| {
            let first = first_device(&id);
            Some((id, OpenedParty::of(party, first.as_deref())?))
        });
        Some(Self {
            id: call.id,
            phase: call.phase,
            route: call.route,
            phases: call.phases,
            opened_at: call.opened_at,
            expires_at: call.expires_at,
            ttl: call.ttl,
            node: call.node,
            why: call.why,
            parties: parties.collect::<Option<_>>()?,
        })
    }
}

impl OpenedParty {
    fn of(party: PartyView, first_device: Option<&str>) -> Option<Self> {
        let of_device = || {
            let named = first_device.and_then(|name| party.devices.get(name));
            let device = named.or_else(|| party.devices.values().next())?;
            Some(device.rtc_configuration.clone())
        };
        let rtc_configuration = party.rtc_configuration.clone().or_else(of_device)?;
        Some(Self {
            masked: party.masked,
            visible_to: party.visible_to,
            rtc_configuration,
            devices: party.devices,
            answered_on: party.answered_on,
        })
    }
}
