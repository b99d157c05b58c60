//! The tickets that one answer hands out: minted once, with one snapshot of the settings, so that
//! what the relay was told and what the client gets can't differ.

use std::sync::Arc;

use vizard_proto::auth::ticket::Credential;

use super::{Live, reachable};
use crate::control::calls::{Call, Generation};
use crate::control::offers::Offer;
use crate::control::policy::Route;
use crate::control::problem::Problem;

/// A call and what its parties are handed.
pub struct Handed {
    /// The call, as it is.
    pub call: Call,
    /// Its tickets, where there are any to hand out.
    pub tickets: Option<Tickets>,
}

impl Handed {
    /// A call that nobody gets a ticket of.
    pub(super) fn bare(call: Call) -> Self {
        Self {
            call,
            tickets: None,
        }
    }
}

/// Tickets of a call.
pub struct Tickets {
    live: Arc<Live>,
    held: Vec<Held>,
    /// What is allowed to whoever holds them.
    route: Route,
}

/// One device's ticket.
pub struct Held {
    /// The party's index.
    pub party: usize,
    /// The device's index.
    pub device: usize,
    /// The ticket.
    pub credential: Credential,
}

impl Tickets {
    /// The tickets of a call that is opened.
    pub(super) fn first(live: &Arc<Live>, call: &Call) -> Result<Self, Problem> {
        Self::of(live, call, Generation::Opened, |index| {
            call.devices(index, Generation::Opened)
        })
    }

    /// The tickets of a call that goes on, without those of devices that have lost.
    pub(super) fn living(live: &Arc<Live>, call: &Call) -> Result<Self, Problem> {
        Self::of(live, call, call.generation(), |index| {
            call.living_devices(index)
        })
    }

    /// Every ticket of a call that may be in use.
    pub(super) fn all(live: &Arc<Live>, call: &Call) -> Vec<String> {
        let tickets = call.tickets();
        let usernames = tickets.iter().map(|it| live.tickets.mint(it).username);
        usernames.collect()
    }

    fn of(
        live: &Arc<Live>,
        call: &Call,
        generation: Generation,
        devices: impl Fn(usize) -> Vec<usize>,
    ) -> Result<Self, Problem> {
        reachable(live)?;
        let mut held = Vec::new();
        for party in 0..call.parties.len() {
            for device in devices(party) {
                let ticket = call.ticket(party, device, generation);
                held.push(Held {
                    party,
                    device,
                    credential: live.tickets.mint(&ticket),
                });
            }
        }
        let route = match generation {
            Generation::Opened => call.opened.route,
            Generation::Answered => call.outcome().route,
        };
        let live = Arc::clone(live);
        Ok(Self { live, held, route })
    }

    /// The names that the relay is to know.
    pub(super) fn usernames(&self) -> Vec<String> {
        let usernames = self.held.iter().map(|held| &held.credential.username);
        usernames.cloned().collect()
    }

    /// Each device's ticket.
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// Where the relay is.
    pub fn offers(&self) -> &[Offer] {
        &self.live.offers
    }

    /// What is allowed to whoever holds them.
    pub fn route(&self) -> Route {
        self.route
    }
}
