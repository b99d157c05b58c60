//! Allocate (RFC 8656 section 7).

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::answer::Success;
use super::{ErrorCode, Relay};
use crate::account::Account;
use crate::address::{Client, Family};
use crate::allocation::{Allocation, DEFAULT_LIFETIME, Masks, Mobility};
use crate::auth::login::Login;
use crate::auth::ticket::{CallId, Ticket};
use crate::contract::{EndReason, Event, Output};
use crate::id::AllocationId;
use crate::stun::{AttributeType, Message};
use crate::time::Timestamp;

const UDP: u8 = 17;
/// The port in the documentation address that a masked client gets for its own: discard.
const MAPPED_PORT: u16 = 9;

/// What the client wants, checked against the rules on which attributes go together.
struct Wish {
    family: Family,
    additional: Option<Family>,
    even_port: bool,
    lifetime: Option<Duration>,
    mobility: bool,
}

impl Relay {
    pub(super) fn allocate(
        &mut self,
        now: Timestamp,
        from: Client,
        message: &Message<'_>,
        login: &Login,
    ) -> Result<Success, ErrorCode> {
        if let Some(id) = self.by_tuple.get(&from.tuple) {
            return self.repeat(*id, message, login);
        }
        let wish = Wish::read(message)?;
        if !self.masks.serves(wish.family) {
            return Err(ErrorCode::FAMILY_NOT_SUPPORTED);
        }
        self.make_room(now, &login.ticket)?;
        let id = self.create(now, from, message, login, &wish)?;
        let allocation = self
            .allocations
            .get(&id)
            .ok_or(ErrorCode::INSUFFICIENT_CAPACITY)?;
        Ok(self.allocated(id, allocation))
    }

    /// An Allocate on a 5-tuple in use: a retransmission is answered as the first one was.
    fn repeat(
        &self,
        id: AllocationId,
        message: &Message<'_>,
        login: &Login,
    ) -> Result<Success, ErrorCode> {
        match self.allocations.get(&id) {
            Some(allocation)
                if allocation.transaction == message.transaction_id()
                    && allocation.ticket == login.ticket =>
            {
                Ok(self.allocated(id, allocation))
            }
            _ => Err(ErrorCode::ALLOCATION_MISMATCH),
        }
    }

    /// Sees to it that the ticket may have one more. A client that changed its network or its
    /// sockets leaves allocations behind that it can't delete any more: at the limit the one that
    /// has been idle for the longest time goes, but none with a living channel.
    fn make_room(&mut self, now: Timestamp, ticket: &Ticket) -> Result<(), ErrorCode> {
        if self.calls.members_of(ticket).count() >= self.allocations_of(ticket.call) {
            let idle = self
                .calls
                .members_of(ticket)
                .filter_map(|id| Some((id, self.allocations.get(&id)?)))
                .filter(|(_, other)| !other.has_living_channel(now))
                .min_by_key(|(id, other)| (other.used_at, *id))
                .map(|(id, _)| id);
            self.end(idle.ok_or(ErrorCode::QUOTA_REACHED)?, EndReason::Evicted);
        }
        if self.allocations.len() >= self.config.limits.allocations {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        Ok(())
    }

    /// How many each ticket of the call may have.
    fn allocations_of(&self, call: CallId) -> usize {
        let for_two = self.config.limits.allocations_per_ticket;
        let further = self.calls.device_count(call).saturating_sub(2);
        for_two.saturating_add((for_two / 4).saturating_mul(further))
    }

    fn create(
        &mut self,
        now: Timestamp,
        from: Client,
        message: &Message<'_>,
        login: &Login,
        wish: &Wish,
    ) -> Result<AllocationId, ErrorCode> {
        let ticket = login.ticket;
        let id = AllocationId(self.last_id + 1);
        let (masks, refused_family) = self.assign_masks(wish, id)?;
        self.last_id += 1;
        let ticket_ends_at = self.session_end(&ticket);
        let granted = self.lifetime(now, wish.lifetime, ticket_ends_at);
        let allocation = Allocation {
            client: from,
            ticket,
            transaction: message.transaction_id(),
            granted,
            refused_family,
            masks,
            expires_at: now + granted,
            ticket_ends_at,
            permissions: Vec::new(),
            channels: Vec::new(),
            mobility: wish.mobility.then_some(Mobility {
                moves: 0,
                transaction: message.transaction_id(),
            }),
            used_at: now,
            deadline: Timestamp::NEVER,
            links: Vec::new(),
            account: Account::new(id, Allocation::kbps(&ticket), self.calls.meter(&ticket)),
        };
        for change in self.changes_of(&allocation) {
            self.tell(&allocation, change);
        }
        self.allocations.insert(id, allocation);
        self.by_tuple.insert(from.tuple, id);
        self.calls.join(&ticket, id, self.config.clock);
        for mask in masks.iter() {
            self.calls.settle(ticket.call, mask.ip(), id);
        }
        self.watch(id);
        self.watch_call(ticket.call);
        self.outputs
            .push_back(Output::Event(Event::AllocationCreated {
                allocation: id,
                call: ticket.call,
                party: ticket.party,
                device: ticket.device,
                family: wish.family,
            }));
        Ok(id)
    }

    /// The wanted family is served; the additional one is done without and said so.
    fn assign_masks(
        &mut self,
        wish: &Wish,
        id: AllocationId,
    ) -> Result<(Masks, Option<Family>), ErrorCode> {
        let mut masks = Masks::default();
        let first = self
            .masks
            .assign(&mut self.rng, wish.family, wish.even_port, id)
            .ok_or(ErrorCode::INSUFFICIENT_CAPACITY)?;
        masks.set(wish.family, Some(first));
        let Some(family) = wish.additional else {
            return Ok((masks, None));
        };
        let second = self.masks.assign(&mut self.rng, family, wish.even_port, id);
        masks.set(family, second);
        Ok((masks, second.is_none().then_some(family)))
    }

    /// How long the allocation may live without a Refresh: as asked, at least the default, at most
    /// the limit, and never past its ticket.
    pub(super) fn lifetime(
        &self,
        now: Timestamp,
        wanted: Option<Duration>,
        ticket_ends_at: Timestamp,
    ) -> Duration {
        let wanted = wanted.unwrap_or(DEFAULT_LIFETIME).max(DEFAULT_LIFETIME);
        let longest = self.config.limits.max_lifetime.max(DEFAULT_LIFETIME);
        let left = ticket_ends_at.since(now).max(Duration::from_secs(1));
        wanted.min(longest).min(left)
    }

    fn allocated(&self, id: AllocationId, allocation: &Allocation) -> Success {
        Success {
            relayed: [allocation.masks.v4, allocation.masks.v6],
            mapped: Some(self.mapped_address(allocation)),
            lifetime: Some(allocation.granted),
            refused_family: allocation.refused_family,
            mobility: self.mobility_ticket(id, allocation),
        }
    }

    /// A masked client does not learn its own address from us, so it cannot pass it on. Nor does
    /// the family tell which one it has: clients copy this address into their candidates' `raddr`.
    fn mapped_address(&self, allocation: &Allocation) -> SocketAddr {
        let remote = allocation.client.tuple.remote;
        if !allocation.ticket.masked {
            return remote;
        }
        let masking = &self.config.masking;
        let ip = match allocation.masks.v4 {
            Some(_) => IpAddr::V4(masking.mapped_v4),
            None => IpAddr::V6(masking.mapped_v6),
        };
        SocketAddr::new(ip, MAPPED_PORT)
    }
}

impl Wish {
    fn read(message: &Message<'_>) -> Result<Self, ErrorCode> {
        match message.requested_transport()? {
            Some(UDP) => {}
            Some(_) => return Err(ErrorCode::UNSUPPORTED_TRANSPORT),
            None => return Err(ErrorCode::BAD_REQUEST),
        }
        let family = read_family(message, AttributeType::REQUESTED_ADDRESS_FAMILY)?;
        let additional = read_additional(message)?;
        let even_port = message.even_port()?;
        if message.reservation_token()?.is_some() {
            if even_port.is_some() || family.is_some() || additional.is_some() {
                return Err(ErrorCode::BAD_REQUEST);
            }
            // Nothing is ever reserved, so the token is not known.
            return Err(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        if additional.is_some() && (family.is_some() || even_port == Some(true)) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        if even_port == Some(true) {
            // A second port next to the first means nothing behind a mask.
            return Err(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        let mobility = match message.find(AttributeType::MOBILITY_TICKET) {
            Some([]) => true,
            Some(_) => return Err(ErrorCode::BAD_REQUEST),
            None => false,
        };
        Ok(Self {
            family: family.unwrap_or(Family::V4),
            additional,
            even_port: even_port.is_some(),
            lifetime: message
                .lifetime()?
                .map(|secs| Duration::from_secs(u64::from(secs))),
            mobility,
        })
    }
}

/// A family that is neither IPv4 nor IPv6 is 440 (RFC 8656 section 7.2).
fn read_family(
    message: &Message<'_>,
    attribute: AttributeType,
) -> Result<Option<Family>, ErrorCode> {
    match message.find(attribute) {
        None => Ok(None),
        Some([1, _, _, _]) => Ok(Some(Family::V4)),
        Some([2, _, _, _]) => Ok(Some(Family::V6)),
        Some([_, _, _, _]) => Err(ErrorCode::FAMILY_NOT_SUPPORTED),
        Some(_) => Err(ErrorCode::BAD_REQUEST),
    }
}

/// ADDITIONAL-ADDRESS-FAMILY may only say IPv6 (RFC 8656 section 7.2).
fn read_additional(message: &Message<'_>) -> Result<Option<Family>, ErrorCode> {
    match message.additional_address_family()? {
        Some(Family::V4) => Err(ErrorCode::BAD_REQUEST),
        family => Ok(family),
    }
}
