//! The reference: what a TURN server between the parties of calls should do, written for nothing
//! but being right. A list of allocations, every question answered by looking through it with the
//! time in worker: no timers, no indices, no entries to keep in step.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use vizard_proto::address::FiveTuple;
use vizard_proto::auth::ticket::{CallId, Ticket};
use vizard_proto::channel_data::ChannelNumber;
use vizard_proto::contract::Scope;
use vizard_proto::forward::{ForwardKey, Way};
use vizard_proto::stun::TransactionId;
use vizard_proto::time::{Timestamp, WallClock};
use vizard_proto::usage::DropReason;

const MINUTE: Duration = Duration::from_secs(60);

/// A request as its sender means it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) ticket: Ticket,
    pub(crate) transaction: TransactionId,
    pub(crate) nonce: Option<Issued>,
    pub(crate) ask: Ask,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// With a lifetime in seconds.
    Allocate(u32),
    Refresh(u32),
    Permit(Vec<SocketAddr>),
    Bind(u16, SocketAddr),
}

/// For whom and when a nonce was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Issued {
    pub(crate) to: FiveTuple,
    /// Unix seconds by the server's clock.
    pub(crate) at: u64,
}

/// Where a packet comes out: at whom, from which mask address, on which channel if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) to: FiveTuple,
    pub(crate) from: SocketAddr,
    pub(crate) channel: Option<u16>,
}

pub(crate) struct Model {
    /// Dead ones stay until the next change.
    allocations: Vec<Allocation>,
    revoked: Vec<(CallId, Scope)>,
    quota: usize,
    clock: WallClock,
    /// Unix seconds at which the calls are over, and whether the clock has ever shown that.
    end: u64,
    over: bool,
}

struct Allocation {
    tuple: FiveTuple,
    ticket: Ticket,
    transaction: TransactionId,
    /// As the server answers it.
    mask: Option<SocketAddr>,
    ends: Timestamp,
    /// When something was last granted on it.
    used: Timestamp,
    permissions: BTreeMap<IpAddr, Timestamp>,
    channels: BTreeMap<u16, (SocketAddr, Timestamp)>,
}

impl Model {
    pub(crate) fn new(quota: usize, end: u64) -> Self {
        Self {
            allocations: Vec::new(),
            revoked: Vec::new(),
            quota,
            clock: WallClock::new(testkit::START),
            end,
            over: false,
        }
    }

    pub(crate) fn revoke(&mut self, call: CallId, scope: Scope) {
        self.revoked.push((call, scope));
    }

    /// What has ended, by the old clock or the new one, does not live again.
    pub(crate) fn set_clock(&mut self, now: Timestamp, clock: WallClock) {
        self.bury(now);
        self.clock = clock;
        self.bury(now);
    }

    /// Unix seconds.
    pub(crate) fn time(&self, now: Timestamp) -> u64 {
        self.clock.unix_secs(now)
    }

    pub(crate) fn disconnect(&mut self, tuple: FiveTuple) {
        self.allocations
            .retain(|allocation| allocation.tuple != tuple);
    }

    pub(crate) fn count(&self, now: Timestamp) -> usize {
        self.live(now).count()
    }

    /// The TCP connections that allocations hang on.
    pub(crate) fn streams(&self, now: Timestamp) -> Vec<(FiveTuple, Ticket)> {
        self.live(now)
            .filter(|it| it.tuple.transport.is_stream())
            .map(|it| (it.tuple, it.ticket))
            .collect()
    }

    /// Whether the ticket is good for anything.
    pub(crate) fn is_valid(&self, now: Timestamp, ticket: &Ticket) -> bool {
        !self.over && is_valid(&self.revoked, self.time(now), ticket)
    }

    /// The answer's code, 200 for success.
    pub(crate) fn answer(&mut self, now: Timestamp, from: FiveTuple, request: &Request) -> u16 {
        let Some(nonce) = request.nonce else {
            return 401;
        };
        if nonce.to != from || !is_fresh(nonce.at, self.time(now)) {
            return 438;
        }
        if !self.is_valid(now, &request.ticket) {
            return 401;
        }
        self.bury(now);
        let code = self.judge(now, from, request);
        if code == 200
            && let Some(own) = self.at(now, from)
        {
            own.used = now;
        }
        code
    }

    fn judge(&mut self, now: Timestamp, from: FiveTuple, request: &Request) -> u16 {
        let there = self
            .live(now)
            .find(|allocation| allocation.tuple == from)
            .map(|allocation| (allocation.transaction, allocation.ticket));
        match (there, &request.ask) {
            (Some(there), Ask::Allocate(_)) if there == (request.transaction, request.ticket) => {
                200
            }
            (None, Ask::Allocate(lifetime)) => self.allocate(now, from, request, *lifetime),
            (Some(_), Ask::Allocate(_)) | (None, _) => 437,
            (Some((_, ticket)), _) if ticket != request.ticket => 441,
            (Some(_), ask) => self.change(now, from, ask),
        }
    }

    fn bury(&mut self, now: Timestamp) {
        let (revoked, time) = (self.revoked.clone(), self.time(now));
        self.over |= self.end <= time;
        let over = self.over;
        self.allocations
            .retain(|it| !over && now < it.ends && is_valid(&revoked, time, &it.ticket));
    }

    fn allocate(
        &mut self,
        now: Timestamp,
        tuple: FiveTuple,
        request: &Request,
        lifetime: u32,
    ) -> u16 {
        let same = |other: &&Allocation| {
            let key = |ticket: &Ticket| (ticket.call, ticket.party, ticket.device);
            key(&other.ticket) == key(&request.ticket)
        };
        if self.live(now).filter(same).count() >= self.quota {
            let bound = |it: &Allocation| it.channels.values().any(|(_, until)| now < *until);
            let idle = self.live(now).filter(same).filter(|it| !bound(it));
            let Some(tuple) = idle.min_by_key(|it| it.used).map(|it| it.tuple) else {
                return 486;
            };
            self.disconnect(tuple);
        }
        self.allocations.push(Allocation {
            tuple,
            ticket: request.ticket,
            transaction: request.transaction,
            mask: None,
            ends: self.granted(now, &request.ticket, lifetime),
            used: now,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
        });
        200
    }

    /// Takes down the mask address that an allocation got; the same as before for an answer given
    /// twice, and nobody else's.
    pub(crate) fn note_mask(&mut self, now: Timestamp, from: FiveTuple, mask: SocketAddr) {
        let taken = |other: &Allocation| other.tuple != from && other.mask == Some(mask);
        assert!(!self.live(now).any(taken), "a mask address given twice");
        let own = self.at(now, from).expect("just allocated");
        let before = own.mask.replace(mask);
        assert!(before.is_none_or(|before| before == mask), "another answer");
    }

    fn change(&mut self, now: Timestamp, from: FiveTuple, ask: &Ask) -> u16 {
        match ask {
            Ask::Allocate(_) => 437,
            Ask::Refresh(0) => {
                self.disconnect(from);
                200
            }
            Ask::Refresh(lifetime) => {
                let ticket = self.living(now, from).expect("living").ticket;
                let ends = self.granted(now, &ticket, *lifetime);
                self.at(now, from).expect("living").ends = ends;
                200
            }
            Ask::Permit(peers) => self.permit(now, from, peers),
            Ask::Bind(number, peer) => self.bind(now, from, *number, *peer),
        }
    }

    fn permit(&mut self, now: Timestamp, from: FiveTuple, peers: &[SocketAddr]) -> u16 {
        let refusals = peers.iter().map(|peer| self.refusal(now, from, *peer));
        if let Some(code) = refusals.flatten().next() {
            return code;
        }
        let own = self.at(now, from).expect("living");
        for peer in peers {
            own.permissions.insert(peer.ip(), now + 5 * MINUTE);
        }
        200
    }

    /// Only mask addresses are peers, and only of the family that the sender has one of.
    fn refusal(&self, now: Timestamp, from: FiveTuple, peer: SocketAddr) -> Option<u16> {
        let own = self.living(now, from).expect("living").mask;
        match own.expect("answered") {
            _ if !in_pool(peer.ip()) => Some(403),
            mask if mask.is_ipv4() != peer.is_ipv4() => Some(443),
            _ => None,
        }
    }

    fn bind(&mut self, now: Timestamp, from: FiveTuple, number: u16, peer: SocketAddr) -> u16 {
        if let Some(code) = self.refusal(now, from, peer) {
            return code;
        }
        let own = self.at(now, from).expect("living");
        let clash = own
            .channels
            .iter()
            .any(|(other, (bound, until))| now < *until && (*other == number) != (*bound == peer));
        if clash {
            return 400;
        }
        own.channels.insert(number, (peer, now + 10 * MINUTE));
        own.permissions.insert(peer.ip(), now + 5 * MINUTE);
        200
    }

    /// What becomes of a packet to `peer`.
    pub(crate) fn send(
        &self,
        now: Timestamp,
        from: FiveTuple,
        peer: SocketAddr,
    ) -> Result<Arrival, DropReason> {
        let own = self.living(now, from).ok_or(DropReason::NoAllocation)?;
        let to = self
            .others(now, from)
            .find(|other| other.mask == Some(peer))
            .ok_or(DropReason::ForeignPeer)?;
        let mask = own.mask.expect("answered");
        if !own.consents(now, peer) {
            return Err(DropReason::NoPermission);
        }
        if !to.consents(now, mask) {
            return Err(DropReason::NotPermittedByPeer);
        }
        let back = to
            .channels
            .iter()
            .find(|(_, (bound, until))| *bound == mask && now < *until);
        Ok(Arrival {
            to: to.tuple,
            from: mask,
            channel: back.map(|(number, _)| *number),
        })
    }

    /// What becomes of a packet on channel `number`.
    pub(crate) fn send_on(
        &self,
        now: Timestamp,
        from: FiveTuple,
        number: u16,
    ) -> Result<Arrival, DropReason> {
        let own = self.living(now, from).ok_or(DropReason::NoAllocation)?;
        let (peer, _) = own
            .channels
            .get(&number)
            .filter(|(_, until)| now < *until)
            .ok_or(DropReason::NoChannel)?;
        self.send(now, from, *peer)
    }

    /// All that anybody may write on a packet that arrives, and how it arrives: what the workers
    /// must have entries for, no more and no less.
    pub(crate) fn links(&self, now: Timestamp) -> BTreeMap<ForwardKey, Arrival> {
        let mut links = BTreeMap::new();
        for own in self.live(now) {
            let tuple = own.tuple;
            for peer in self.others(now, tuple).filter_map(|other| other.mask) {
                if let Ok(arrival) = self.send(now, tuple, peer) {
                    let way = Way::Peer(peer);
                    links.insert(ForwardKey { tuple, way }, arrival);
                }
            }
            for number in own.channels.keys() {
                if let Ok(arrival) = self.send_on(now, tuple, *number) {
                    let way = Way::Channel(ChannelNumber::new(*number).expect("in range"));
                    links.insert(ForwardKey { tuple, way }, arrival);
                }
            }
        }
        links
    }

    /// At least ten minutes, at most an hour, and never past the ticket's end.
    fn granted(&self, now: Timestamp, ticket: &Ticket, lifetime: u32) -> Timestamp {
        let lifetime = Duration::from_secs(u64::from(lifetime)).clamp(10 * MINUTE, 60 * MINUTE);
        (now + lifetime).min(self.ticket_end(ticket))
    }

    pub(crate) fn ticket_end(&self, ticket: &Ticket) -> Timestamp {
        self.clock.timestamp(ticket.expires_at)
    }

    fn live(&self, now: Timestamp) -> impl Iterator<Item = &Allocation> {
        self.allocations
            .iter()
            .filter(move |it| now < it.ends && self.is_valid(now, &it.ticket))
    }

    fn living(&self, now: Timestamp, tuple: FiveTuple) -> Option<&Allocation> {
        self.live(now).find(|allocation| allocation.tuple == tuple)
    }

    fn at(&mut self, now: Timestamp, tuple: FiveTuple) -> Option<&mut Allocation> {
        self.allocations
            .iter_mut()
            .find(|it| it.tuple == tuple && now < it.ends)
    }

    /// The allocations of other parties of the call.
    fn others(&self, now: Timestamp, from: FiveTuple) -> impl Iterator<Item = &Allocation> {
        let own = self.living(now, from).map(|own| own.ticket);
        self.live(now).filter(move |other| {
            own.is_some_and(|own| own.call == other.ticket.call && own.party != other.ticket.party)
        })
    }
}

impl Allocation {
    /// By a permission for the IP address or a channel to that very address.
    fn consents(&self, now: Timestamp, peer: SocketAddr) -> bool {
        let permitted = self.permissions.get(&peer.ip());
        let mut bound = self.channels.values();
        permitted.is_some_and(|until| now < *until)
            || bound.any(|(to, until)| *to == peer && now < *until)
    }
}

/// Mask addresses are out of 198.18.0.0/15 and 2001:2::/48, held by anybody or not.
fn in_pool(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets(), [198, 18 | 19, ..]),
        IpAddr::V6(ip) => matches!(ip.segments(), [0x2001, 2, 0, ..]),
    }
}

fn is_valid(revoked: &[(CallId, Scope)], time: u64, ticket: &Ticket) -> bool {
    let hit = |(call, scope): &(CallId, Scope)| {
        *call == ticket.call && scope.covers(ticket.party, ticket.device)
    };
    time < ticket.expires_at && !revoked.iter().any(hit)
}

/// An hour, counted in steps of sixteen seconds; and not from the future.
fn is_fresh(issued: u64, time: u64) -> bool {
    let age = (time / 16).checked_sub(issued / 16);
    age.is_some_and(|age| age <= 3600 / 16)
}
