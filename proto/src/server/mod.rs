//! The relay: one short function per method of RFC 8656, and what their allocations have in common.

mod allocate;
mod answer;
mod channel_bind;
mod circuit;
mod create_permission;
mod expiry;
mod refresh;
mod relaying;
mod renewal;
mod roaming;
mod snapshot;

pub use snapshot::SnapshotError;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use core::net::SocketAddr;

use crate::address::{Client, FiveTuple};
use crate::allocation::Allocation;
use crate::auth::login::{Claims, Login};
use crate::auth::mobility::MobilityKey;
use crate::auth::ticket::{CallId, Ticket};
use crate::calls::{Calls, Opened};
use crate::config::Config;
use crate::contract::{Command, CommandError, EndReason, Event, Output, Verdict};
use crate::forward::Change;
use crate::gate::{Admitted, Content, Sender};
use crate::hash::{self, Map};
use crate::id::AllocationId;
use crate::mask::MaskPool;
use crate::rng::Rng;
use crate::stun::{BadAttribute, Message, Method};
use crate::time::Timestamp;
use answer::Answer;

/// The TURN server. See the crate's front page for how to drive it.
pub struct Relay {
    config: Config,
    rng: Rng,
    allocations: Map<AllocationId, Allocation>,
    by_tuple: Map<FiveTuple, AllocationId>,
    masks: MaskPool,
    mobility: MobilityKey,
    calls: Calls,
    timers: BTreeSet<(Timestamp, Timer)>,
    /// Work since the last input came: allocations ended, pairs looked at.
    steps: usize,
    outputs: VecDeque<Output>,
    last_id: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Allocation(AllocationId),
    Call(CallId),
    /// The rest of a call's revoked members.
    Doomed(CallId),
}

/// A STUN error code to answer an authenticated request with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ErrorCode(u16);

impl ErrorCode {
    const BAD_REQUEST: Self = Self(400);
    const FORBIDDEN: Self = Self(403);
    const MOBILITY_FORBIDDEN: Self = Self(405);
    const ALLOCATION_MISMATCH: Self = Self(437);
    const FAMILY_NOT_SUPPORTED: Self = Self(440);
    const WRONG_CREDENTIALS: Self = Self(441);
    const UNSUPPORTED_TRANSPORT: Self = Self(442);
    const FAMILY_MISMATCH: Self = Self(443);
    const QUOTA_REACHED: Self = Self(486);
    const INSUFFICIENT_CAPACITY: Self = Self(508);
}

impl From<BadAttribute> for ErrorCode {
    fn from(_: BadAttribute) -> Self {
        Self::BAD_REQUEST
    }
}

impl Relay {
    /// A relay without any allocation. `seed` must be unknown to attackers; the same seed and the
    /// same inputs give the same outputs.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        Self {
            rng: Rng::new(seed, "relay"),
            allocations: Map::with_hasher(hash::state(seed, "allocations")),
            by_tuple: Map::with_hasher(hash::state(seed, "tuples")),
            masks: MaskPool::new(&config.masking, seed),
            mobility: MobilityKey::new(&config.nonce_secret),
            calls: Calls::new(seed),
            timers: BTreeSet::new(),
            steps: 0,
            outputs: VecDeque::new(),
            last_id: 0,
            config,
        }
    }

    /// A worker's gate has let a packet through. `out` receives the answer, if there is one, and
    /// should hold 1024 bytes.
    pub fn handle(&mut self, now: Timestamp, admitted: Admitted<'_>, out: &mut [u8]) -> Verdict {
        let from = admitted.from();
        self.follow(from);
        match admitted.into_content() {
            Content::Media(media, packet) => self.pass_on(now, &from, media, packet),
            Content::Request(message, sender) => {
                self.serve_request(now, from, &message, sender, out)
            }
        }
    }

    /// The control side wants something done.
    pub fn handle_command(&mut self, now: Timestamp, command: Command) -> Result<(), CommandError> {
        self.steps = 0;
        match command {
            Command::OpenCall {
                call,
                until,
                usernames,
            } => {
                if !self.has_room_for(call) {
                    return Err(CommandError::Capacity);
                }
                let tickets = usernames
                    .into_iter()
                    .map(|name| self.opened(name))
                    .collect();
                let (clock, realm) = (self.config.clock, self.config.realm.as_bytes());
                self.calls.open(call, until, clock, realm, tickets);
                self.watch_call(call);
            }
            Command::Revoke { call, scope, until } => {
                self.calls.revoke(call, scope, until, self.config.clock);
                self.watch_call(call);
                self.end_doomed(now, call);
            }
            Command::EndedBefore(unix_secs) => self.calls.raise_floor(unix_secs),
            Command::SetTicketKeys(keys) => self.config.tickets = keys,
            Command::SetClock(clock) => self.set_clock(now, clock),
            Command::SetPolicy { masking, limits } => {
                self.config.limits = limits;
                self.config.masking = masking;
            }
        }
        Ok(())
    }

    /// A client's connection is gone, and its allocation with it.
    pub fn handle_disconnect(&mut self, tuple: &FiveTuple) {
        if let Some(id) = self.by_tuple.get(tuple).copied() {
            self.end(id, EndReason::Disconnected);
        }
    }

    /// The next piece of work for the caller.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// All that a worker must know, in an order in which it can be applied, for one that begins
    /// anew.
    #[expect(clippy::disallowed_methods, reason = "goes into other hash tables")]
    pub fn changes(&self, worker: u16, apply: impl FnMut(Change)) {
        self.allocations
            .values()
            .filter(|allocation| allocation.client.worker == worker)
            .flat_map(|allocation| self.changes_of(allocation))
            .for_each(apply);
    }

    /// How many allocations there are.
    pub fn allocation_count(&self) -> usize {
        self.allocations.len()
    }

    /// How many calls take one of the node's places.
    pub fn call_count(&self) -> usize {
        self.calls.open_count()
    }

    fn opened(&self, username: String) -> Opened {
        let ticket = self.config.tickets.open(username.as_bytes());
        Opened {
            username,
            device: ticket.map(|(ticket, _)| (ticket.party, ticket.device)),
        }
    }

    /// Whether the call may be opened; one that is open may always be renewed.
    fn has_room_for(&self, call: CallId) -> bool {
        let limits = &self.config.limits;
        let places = self.calls.open_count() < limits.calls;
        let pools = self.config.masking.pool_v4.is_some() || self.config.masking.pool_v6.is_some();
        let room = places && pools && self.allocations.len() < limits.allocations;
        self.calls.is_open(call) || room
    }

    /// Where a client's packets arrive at another worker than before, its entries follow it.
    fn follow(&mut self, from: Client) {
        let Some(id) = self.by_tuple.get(&from.tuple).copied() else {
            return;
        };
        let moved = |allocation: &Allocation| allocation.client.worker != from.worker;
        if self.allocations.get(&id).is_some_and(moved) {
            self.move_client(id, from);
        }
    }

    fn serve_request(
        &mut self,
        now: Timestamp,
        from: Client,
        message: &Message<'_>,
        sender: Sender<'_>,
        out: &mut [u8],
    ) -> Verdict {
        let Some(login) = self.log_in(now, &from, message, sender) else {
            return Verdict::Refused(message.header());
        };
        let answer = Answer::new(message, &login);
        if answer.has_unknown_attributes() {
            return answer.unknown_attributes(out);
        }
        let done = match message.method() {
            Method::ALLOCATE => self.allocate(now, from, message, &login),
            Method::REFRESH => self.refresh(now, &from, message, &login),
            Method::CREATE_PERMISSION => self.create_permission(now, &from, message, &login),
            Method::CHANNEL_BIND => self.channel_bind(now, &from, message, &login),
            _ => Err(ErrorCode::BAD_REQUEST),
        };
        match done {
            Ok(success) => {
                self.touch(now, &from.tuple);
                answer.success(&success, out)
            }
            Err(code) => answer.error(code, out),
        }
    }

    /// The allocation of this 5-tuple is in use.
    fn touch(&mut self, now: Timestamp, tuple: &FiveTuple) {
        if let Some(allocation) = self
            .by_tuple
            .get(tuple)
            .and_then(|id| self.allocations.get_mut(id))
        {
            allocation.used_at = now;
        }
    }

    /// Who sent the request. Expired and revoked tickets are as good as unknown ones.
    fn log_in(
        &self,
        now: Timestamp,
        from: &Client,
        message: &Message<'_>,
        sender: Sender<'_>,
    ) -> Option<Login> {
        let login = match sender {
            Sender::Known(login) => login,
            Sender::Hashed(claims) => self.look_up(message, &claims)?,
        };
        let in_time = login.ticket.is_in_time(self.config.clock.unix_secs(now))
            || self.lives_on(now, from, &login.ticket);
        (in_time && !self.calls.is_dead(&login.ticket)).then_some(login)
    }

    /// Who sent a request that names its ticket by USERHASH.
    fn look_up(&self, message: &Message<'_>, claims: &Claims<'_>) -> Option<Login> {
        let username = self.calls.resolve(claims.userhash()?)?;
        let (realm, tickets) = (self.config.realm.as_bytes(), &self.config.tickets);
        let login = claims.verify(message, realm, tickets, Some(username.as_bytes()));
        login.ok()
    }

    /// The allocation that a request other than Allocate speaks of (RFC 8656 section 5).
    fn allocation_of(&self, from: &Client, login: &Login) -> Result<AllocationId, ErrorCode> {
        let id = self
            .by_tuple
            .get(&from.tuple)
            .ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        let allocation = self
            .allocations
            .get(id)
            .ok_or(ErrorCode::ALLOCATION_MISMATCH)?;
        if allocation.ticket.is_of_same_device(&login.ticket) {
            Ok(*id)
        } else {
            Err(ErrorCode::WRONG_CREDENTIALS)
        }
    }

    fn living(&self, id: AllocationId) -> Result<&Allocation, ErrorCode> {
        self.allocations
            .get(&id)
            .ok_or(ErrorCode::ALLOCATION_MISMATCH)
    }

    /// Deletes an allocation and everything that points to it, at once.
    fn end(&mut self, id: AllocationId, reason: EndReason) {
        let Some(allocation) = self.allocations.remove(&id) else {
            return;
        };
        self.steps += 1;
        self.timers
            .remove(&(allocation.deadline, Timer::Allocation(id)));
        self.by_tuple.remove(&allocation.client.tuple);
        for address in allocation.masks.iter() {
            self.release(id, &allocation, address);
        }
        self.cut_own_circuits(&allocation);
        let client = allocation.client;
        let cut = matches!(reason, EndReason::Revoked | EndReason::TicketExpired);
        if cut && client.tuple.transport.is_stream() {
            self.outputs.push_back(Output::Disconnect(client));
        }
        let Ticket {
            call,
            party,
            device,
            ..
        } = allocation.ticket;
        self.calls.leave(&allocation.ticket, id);
        self.watch_call(call);
        self.outputs
            .push_back(Output::Event(Event::AllocationEnded {
                allocation: id,
                call,
                party,
                device,
                reason,
            }));
    }

    /// Puts a mask address back, and takes out what led to it.
    fn release(&mut self, id: AllocationId, last_owner: &Allocation, address: SocketAddr) {
        self.masks.release(address);
        self.calls
            .unsettle(last_owner.ticket.call, address.ip(), id);
        self.cut_circuits_to(address, last_owner);
    }

    /// Moves an allocation's timer to its next deadline.
    fn watch(&mut self, id: AllocationId) {
        if let Some(allocation) = self.allocations.get_mut(&id) {
            self.timers
                .remove(&(allocation.deadline, Timer::Allocation(id)));
            allocation.deadline = allocation.next_deadline();
            self.timers
                .insert((allocation.deadline, Timer::Allocation(id)));
        }
    }

    /// Sees to it that the call is looked at when its tickets have run out. A call that still has
    /// members then is looked at again when the last of them is gone.
    fn watch_call(&mut self, call: CallId) {
        if let Some(due) = self.calls.due(call, self.config.clock) {
            self.timers.insert((due, Timer::Call(call)));
        }
    }
}
