//! TCP (RFC 8656 section 2.1): listeners and the connections of one worker.
//!
//! A connection belongs to the worker that accepted it. It must hold an allocation: it is looked at
//! regularly and closed if it holds none, whatever else the client may be sending.

mod connection;
mod sender;

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::time::Duration;

use ahash::RandomState;
use mio::event::{Event, Source};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use vizard_proto::address::{Client, FiveTuple, Transport, canonical};
use vizard_proto::time::Timestamp;

use super::counters::{Closed, Counters, Loss, Purpose, Trouble};
use super::shared::Shared;
use super::{hash, listen};
use connection::{Connection, Filled, Sent, Spares};
pub(super) use sender::{Outbound, Sender};

/// How long no connection is accepted after the system had no resources for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many connections a listener takes in one round.
const ACCEPT_BATCH: usize = 64;

/// A listening socket.
pub(super) struct Listener {
    listener: TcpListener,
    is_ready: bool,
    paused_until: Timestamp,
}

impl Listener {
    /// Takes a listening, non-blocking socket over.
    pub(super) fn new(listener: std::net::TcpListener) -> Self {
        Self {
            listener: TcpListener::from_std(listener),
            is_ready: false,
            paused_until: Timestamp::ZERO,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.listener.register(registry, token, Interest::READABLE)
    }

    /// Connections are waiting.
    pub(super) fn notify(&mut self) {
        self.is_ready = true;
    }

    /// When there will be something to do, if nothing happens before.
    pub(super) fn wakes_at(&self) -> Timestamp {
        if self.is_ready {
            self.paused_until
        } else {
            Timestamp::NEVER
        }
    }

    fn accept(&mut self, now: Timestamp, counters: &mut Counters) -> Option<TcpStream> {
        if !self.is_ready || now < self.paused_until {
            return None;
        }
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Some(stream),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_ready = false;
                    return None;
                }
                // This one connection is gone, the next is another matter.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    counters.trouble(Trouble::Accept);
                    self.paused_until = now + ACCEPT_PAUSE;
                    return None;
                }
            }
        }
    }
}

/// The connections of one worker.
pub(super) struct Connections {
    worker: u16,
    registry: Registry,
    first_token: usize,
    patience: Duration,
    places: Vec<Option<Connection>>,
    free: Vec<usize>,
    by_tuple: HashMap<FiveTuple, usize, RandomState>,
    ready: VecDeque<usize>,
    closing: Vec<(usize, Closed)>,
    /// Ordered by time, since everyone waits equally long.
    checks: VecDeque<(Timestamp, usize, u64)>,
    last_serial: u64,
    spares: Spares,
}

impl Connections {
    /// `worker` is the worker's index; tokens from `first_token` on are its connections'.
    /// A connection may be without an allocation for `patience`, at most twice that.
    pub(super) fn new(
        worker: u16,
        registry: Registry,
        first_token: usize,
        patience: Duration,
    ) -> Self {
        Self {
            worker,
            registry,
            first_token,
            patience,
            places: Vec::new(),
            free: Vec::new(),
            by_tuple: HashMap::with_hasher(hash::state()),
            ready: VecDeque::new(),
            closing: Vec::new(),
            checks: VecDeque::new(),
            last_serial: 0,
            spares: Spares::default(),
        }
    }

    /// Takes what waits at `listener`.
    pub(super) fn accept(
        &mut self,
        listener: &mut Listener,
        now: Timestamp,
        shared: &Shared,
        counters: &mut Counters,
        has_allocation: impl Fn(&FiveTuple) -> bool,
    ) {
        for _ in 0..ACCEPT_BATCH {
            let Some(stream) = listener.accept(now, counters) else {
                return;
            };
            let Ok(tuple) = five_tuple(&stream) else {
                continue; // Closed before we looked.
            };
            if let Some(place) = self.by_tuple.get(&tuple).copied() {
                self.mark_closing(place, Closed::Replaced);
                self.reap(now, shared, counters, &has_allocation);
            }
            self.admit(stream, tuple, now, shared, counters);
        }
    }

    fn admit(
        &mut self,
        stream: TcpStream,
        tuple: FiveTuple,
        now: Timestamp,
        shared: &Shared,
        counters: &mut Counters,
    ) {
        if let Err(limit) = shared.quota.take(tuple.remote.ip()) {
            return counters.closed(limit);
        }
        if self.place(stream, tuple, now).is_err() {
            shared.quota.release(tuple.remote.ip());
            return counters.trouble(Trouble::Accept);
        }
        shared.metrics.tcp_connections.inc();
    }

    fn place(&mut self, mut stream: TcpStream, tuple: FiveTuple, now: Timestamp) -> io::Result<()> {
        listen::prepare_stream(&stream)?;
        let place = self.free.last().copied().unwrap_or(self.places.len());
        let token = Token(self.first_token + place);
        stream.register(
            &self.registry,
            token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.last_serial += 1;
        let client = Client {
            tuple,
            worker: self.worker,
        };
        let connection = Connection::new(stream, client, self.last_serial);
        if self.free.pop().is_some() {
            self.places[place] = Some(connection);
        } else {
            self.places.push(Some(connection));
        }
        self.by_tuple.insert(tuple, place);
        self.checks
            .push_back((now + self.patience, place, self.last_serial));
        Ok(())
    }

    /// Something happened at the connection with this token.
    pub(super) fn notify(&mut self, token: usize, event: &Event) {
        let place = token - self.first_token;
        let Some(connection) = self.places.get_mut(place).and_then(Option::as_mut) else {
            return;
        };
        connection.is_ending |= event.is_read_closed() || event.is_error();
        if (event.is_readable() || connection.is_ending) && !connection.is_ready {
            connection.is_ready = true;
            self.ready.push_back(place);
        }
        if event.is_writable() && !connection.flush() {
            self.mark_closing(place, Closed::Failed);
        }
    }

    /// How many connections have something to read.
    pub(super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// Reads from the next connection that has something: its place, its client, and how many
    /// bytes stand at the start of the arena.
    pub(super) fn read_next(&mut self, arena: &mut [u8]) -> Option<(usize, Client, usize)> {
        let place = self.ready.pop_front()?;
        let connection = self.places.get_mut(place).and_then(Option::as_mut)?;
        match connection.fill(arena, &mut self.spares) {
            Filled::Some { len, is_more } => {
                connection.is_ready = is_more;
                if is_more {
                    self.ready.push_back(place);
                }
                return Some((place, connection.client(), len));
            }
            Filled::Nothing => connection.is_ready = false,
            Filled::Closed => self.mark_closing(place, Closed::ByClient),
            Filled::Broken => self.mark_closing(place, Closed::Failed),
        }
        None
    }

    /// Whether a whole message has come from the connection.
    pub(super) fn is_turn(&self, place: usize) -> bool {
        matches!(self.places.get(place), Some(Some(connection)) if connection.is_turn())
    }

    /// Keeps what is left of what was read, until there is more, and whether a whole message has
    /// come.
    pub(super) fn keep(&mut self, place: usize, is_turn: bool, rest: &[u8]) {
        if let Some(connection) = self.places.get_mut(place).and_then(Option::as_mut) {
            if is_turn {
                connection.note_turn();
            }
            connection.keep(rest, &mut self.spares);
        }
    }

    /// Passes over the next `len` bytes that the connection brings.
    pub(super) fn pass_over(&mut self, place: usize, len: usize) {
        if let Some(connection) = self.places.get_mut(place).and_then(Option::as_mut) {
            connection.pass_over(len);
        }
    }

    /// Whether the connection is still to be served.
    pub(super) fn is_open(&self, place: usize) -> bool {
        matches!(self.places.get(place), Some(Some(connection)) if !connection.is_closing)
    }

    /// Where the client's connection stands.
    fn place_of(&self, tuple: &FiveTuple) -> Option<usize> {
        self.by_tuple.get(tuple).copied()
    }

    /// The connection, if it is still to be served.
    fn open_at(&mut self, place: usize) -> Option<&mut Connection> {
        let connection = self.places.get_mut(place)?.as_mut()?;
        (!connection.is_closing).then_some(connection)
    }

    /// Sends an answer to a client; if there is no room for it, the connection is closed.
    pub(super) fn send_answer(&mut self, to: &FiveTuple, answer: &[u8]) -> Result<(), Loss> {
        let place = self.place_of(to).ok_or(Loss::NoConnection)?;
        let connection = self.open_at(place).ok_or(Loss::NoConnection)?;
        match connection.send_answer(answer) {
            Sent::Done => Ok(()),
            Sent::NoRoom => {
                self.mark_closing(place, Closed::Unread);
                Err(Loss::ConnectionFull)
            }
            Sent::Broken => {
                self.mark_closing(place, Closed::Failed);
                Err(Loss::NoConnection)
            }
        }
    }

    /// Closes a client's connection at the end of the round, without sending what waits in it.
    pub(super) fn cut_off(&mut self, tuple: &FiveTuple) {
        let Some(place) = self.place_of(tuple) else {
            return;
        };
        if let Some(Some(connection)) = self.places.get_mut(place) {
            connection.discard();
        }
        self.mark_closing(place, Closed::CallEnded);
    }

    /// Closes a connection at the end of the round.
    pub(super) fn mark_closing(&mut self, place: usize, reason: Closed) {
        if let Some(Some(connection)) = self.places.get_mut(place)
            && !connection.is_closing
        {
            connection.is_closing = true;
            self.closing.push((place, reason));
        }
    }

    /// Closes what is marked for it, and tells the relay of those that had an allocation.
    pub(super) fn reap(
        &mut self,
        now: Timestamp,
        shared: &Shared,
        counters: &mut Counters,
        has_allocation: impl Fn(&FiveTuple) -> bool,
    ) {
        while let Some((place, reason)) = self.closing.pop() {
            let Some(mut connection) = self.places.get_mut(place).and_then(Option::take) else {
                continue;
            };
            let tuple = *connection.tuple();
            // It is closed right away, so that the poll forgets it even if this fails.
            let _ = self.registry.deregister(connection.stream());
            self.by_tuple.remove(&tuple);
            self.ready.retain(|ready| *ready != place);
            self.free.push(place);
            counters.closed(reason);
            shared.metrics.tcp_connections.dec();
            shared.quota.release(tuple.remote.ip());
            if has_allocation(&tuple) {
                shared.with_relay(Purpose::Disconnect, now, |relay, _| {
                    relay.handle_disconnect(&tuple);
                });
            }
        }
    }

    /// Closes connections that hold no allocation at the end of the round.
    pub(super) fn check(&mut self, now: Timestamp, has_allocation: impl Fn(&FiveTuple) -> bool) {
        while let Some((at, place, serial)) = self.checks.front().copied() {
            if now < at {
                break;
            }
            self.checks.pop_front();
            let Some(Some(connection)) = self.places.get_mut(place) else {
                continue;
            };
            if connection.serial != serial {
                continue;
            }
            if has_allocation(connection.tuple()) {
                self.checks.push_back((now + self.patience, place, serial));
            } else {
                self.mark_closing(place, Closed::NoAllocation);
            }
        }
    }
}

fn five_tuple(stream: &TcpStream) -> io::Result<FiveTuple> {
    Ok(FiveTuple {
        transport: Transport::Tcp,
        local: canonical(stream.local_addr()?),
        remote: canonical(stream.peer_addr()?),
    })
}
