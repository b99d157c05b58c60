//! Before and after a load: allocations, and what lets a pair's ends reach each other.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use vizard_proto::channel_data::ChannelNumber;
use vizard_proto::stun::TransactionId;

use super::{Engine, NAP, RENEW, REQUESTS, Round};
use crate::bench::Fault;
use crate::bench::client::{Nanos, Request, State};
use crate::bench::frames::{Envelope, Form, Sender};
use crate::bench::plan::Plan;

impl Engine {
    /// Makes an allocation for every client.
    pub(in crate::bench) fn allocate(&mut self) -> Round {
        let requests = vec![Request::Allocate; self.clients.len()];
        self.ask_all(&requests)
    }

    /// Lets every client reach its pair's other end.
    pub(in crate::bench) fn bind(&mut self) -> Result<Round, Fault> {
        self.lay_tracks()?;
        let round = self.ask_all(&self.reach.clone());
        self.renewal.due = self.clock.now() + RENEW;
        Ok(round)
    }

    /// Ends every allocation.
    pub(in crate::bench) fn release(&mut self) -> Round {
        let requests = vec![Request::Refresh(0); self.clients.len()];
        self.ask_all(&requests)
    }

    /// Every client makes its request; a few at a time.
    fn ask_all(&mut self, requests: &[Request]) -> Round {
        let start = self.clock.now();
        let mut round = Round::default();
        let mut active: Vec<usize> = Vec::with_capacity(REQUESTS);
        let mut next = 0;
        while next < requests.len() || !active.is_empty() {
            let now = self.clock.now();
            while next < requests.len() && active.len() < REQUESTS {
                self.clients[next].ask(requests[next], now);
                active.push(next);
                next += 1;
            }
            self.transmit(&active, now);
            if !self.receive() {
                self.wait(NAP);
            }
            let clients = &self.clients;
            let progress = &self.progress;
            active.retain(|index| match clients[*index].state() {
                State::Busy => true,
                State::Idle => {
                    round.succeeded += 1;
                    progress.ready.fetch_add(1, Ordering::Relaxed);
                    false
                }
                State::Failed(trouble) => {
                    *round.troubles.entry(trouble).or_default() += 1;
                    false
                }
            });
            if hopeless(&round) || self.progress.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        round.elapsed = Duration::from_nanos(self.clock.now() - start);
        round
    }

    /// Sends what is due of these clients' requests.
    pub(super) fn transmit(&mut self, active: &[usize], now: Nanos) {
        let mut scratch = [0; 1024];
        for index in active {
            if let Some(len) = self.clients[*index].poll_transmit(now, &mut scratch) {
                let message = &scratch[..len];
                self.wire
                    .send(*index, len, 0, |room| room.copy_from_slice(message));
            }
        }
        self.wire.flush();
    }

    /// Works out, from the relayed addresses, who reaches whom and how.
    fn lay_tracks(&mut self) -> Result<(), Fault> {
        let near = near_address(self.plan.server)?;
        for pair in 0..self.pairs.len() {
            let [one, other] = match &mut self.peers {
                None => [
                    self.clients[2 * pair].relayed(),
                    self.clients[2 * pair + 1].relayed(),
                ],
                Some(peers) => {
                    let relayed = self.clients[pair].relayed();
                    if let Some(relayed) = relayed {
                        may_send_to(&self.plan, relayed)?;
                        peers.set_remote(pair, relayed);
                    }
                    [relayed, peers.local(pair, near)]
                }
            };
            let (Some(one), Some(other)) = (one, other) else {
                return Err(Fault::Failed("an allocation has no relayed address".into()));
            };
            self.lay_pair(pair, one, other);
        }
        Ok(())
    }

    fn lay_pair(&mut self, pair: usize, one: SocketAddr, other: SocketAddr) {
        let plan = Arc::clone(&self.plan);
        let number = self.pairs.start + pair;
        let channels = channels_of(number);
        let relayed = [one, other];
        for direction in 0..2 {
            let (from, to) = (direction, 1 - direction);
            let is_peer = |end: usize| end == 1 && plan.mode.has_peer();
            let envelope = match plan.form {
                _ if is_peer(from) => Envelope::plain(plan.size),
                Form::Channel => Envelope::channel(channels[from], plan.size),
                Form::Indication => {
                    let id = TransactionId([0x5A; 12]);
                    Envelope::indication(relayed[to], id, plan.size)
                }
            };
            let sender = match plan.form {
                _ if is_peer(to) => Sender::Plain,
                Form::Channel => Sender::Channel(channels[to]),
                Form::Indication => Sender::Peer(relayed[from]),
            };
            let carries = plan.mode.sends(direction);
            self.media.add(number, envelope, sender, carries);
            if !is_peer(from) {
                self.reach.push(match plan.form {
                    Form::Channel => Request::Bind(relayed[to], channels[from]),
                    Form::Indication => Request::Permit(relayed[to]),
                });
            }
        }
    }
}

/// The channels of a pair's ends: different ones, so that a confusion shows.
fn channels_of(pair: usize) -> [ChannelNumber; 2] {
    let pair = u16::try_from(pair % 0x7FE).unwrap_or(0);
    [0, 1].map(|end| {
        let number = ChannelNumber::new(0x4000 + 2 * pair + end);
        number.unwrap_or_else(|| unreachable!("below 0x5000"))
    })
}

/// When nothing at all succeeds, the rest will not either.
fn hopeless(round: &Round) -> bool {
    let failed: u64 = round.troubles.values().sum();
    failed >= 16 && round.succeeded == 0
}

/// Our address on the way to the server. Nothing is sent.
fn near_address(server: SocketAddr) -> Result<IpAddr, Fault> {
    let any = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let found = std::net::UdpSocket::bind(any)
        .and_then(|socket| socket.connect(server).and_then(|()| socket.local_addr()));
    found
        .map(|local| local.ip())
        .map_err(|error| Fault::Failed(format!("no route to the relay: {error}")))
}

/// Peers send to relayed addresses, which the server names: only to where the user said.
fn may_send_to(plan: &Plan, relayed: SocketAddr) -> Result<(), Fault> {
    let allowed = plan.relayed.unwrap_or(plan.server.ip());
    if relayed.ip() == allowed {
        return Ok(());
    }
    Err(Fault::Failed(
        "the server's relayed addresses are not on the address that you gave, so peers don't send \
         to them\n  help: if that is as it should be, name theirs with --relayed-address"
            .into(),
    ))
}
