//! The way out: a batch of datagrams, each from its socket and source address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::batch::{Batch, Envelope, Message, Refused};
use super::sys::MOST;
use super::{FastPath, Socket};
use crate::dataplane::counters::Loss;
use crate::dataplane::hash;
use ahash::RandomState;

/// A datagram to be sent: `head`, then the bytes at `body` of the receive buffers, then `padding`
/// zero bytes.
#[derive(Clone, Debug)]
pub(crate) struct Outbound<'a> {
    /// Our address.
    pub(crate) from: SocketAddr,
    /// The client's address.
    pub(crate) to: SocketAddr,
    /// What is made here: a header, or an answer.
    pub(crate) head: &'a [u8],
    /// What is passed on as it came in.
    pub(crate) body: Range<usize>,
    /// How many zero bytes follow, at most 4.
    pub(crate) padding: usize,
}

/// A worker's sending side. [`Self::push`] notes datagrams, [`Self::flush`] sends them. Of each, it
/// gives back the `tag` that it was pushed with, and says what became of it.
pub(crate) struct Sender<T> {
    by_local: HashMap<SocketAddr, usize, RandomState>,
    batch: Batch<T>,
    envelopes: Box<[Envelope]>,
    fast_path: FastPath,
    /// The address last sent from, and its socket.
    last: Option<(SocketAddr, usize)>,
}

impl<T: Copy> Sender<T> {
    pub(crate) fn new(sockets: &[Socket]) -> Self {
        let mut by_local = HashMap::with_hasher(hash::state());
        let bound = sockets.iter().map(Socket::bound);
        by_local.extend(bound.zip(0..));
        Self {
            by_local,
            batch: Batch::new(),
            envelopes: vec![Envelope::EMPTY; MOST].into_boxed_slice(),
            fast_path: FastPath::Auto,
            last: None,
        }
    }

    /// Chooses the twin. Nothing may be waiting.
    pub(crate) fn follow(&mut self, fast_path: FastPath) {
        self.fast_path = fast_path;
        self.batch.trains.limit(if fast_path.has_trains() {
            usize::MAX
        } else {
            0
        });
    }

    /// The socket that sends from `local`.
    fn socket_for(&mut self, local: SocketAddr) -> Option<usize> {
        if let Some((last, socket)) = self.last
            && last == local
        {
            return Some(socket);
        }
        let any: IpAddr = if local.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let wildcard = SocketAddr::new(any, local.port());
        let socket = *self
            .by_local
            .get(&local)
            .or_else(|| self.by_local.get(&wildcard))?;
        self.last = Some((local, socket));
        Some(socket)
    }

    /// Whether [`Self::flush`] must come before the next [`Self::push`].
    pub(crate) fn is_full(&self) -> bool {
        self.batch.is_full()
    }

    /// Notes a datagram; there must be room for it.
    pub(crate) fn push(&mut self, datagram: &Outbound<'_>, tag: T) -> Result<(), Loss> {
        let socket = self.socket_for(datagram.from).ok_or(Loss::NoSocket)?;
        self.batch.push(socket, datagram, tag)
    }

    /// Forgets what waits.
    pub(crate) fn discard(&mut self) {
        self.batch.clear();
    }

    /// Sends what waits, of which the bodies lie in `buffers`.
    pub(crate) fn flush(
        &mut self,
        sockets: &[Socket],
        buffers: &[u8],
        mut outcome: impl FnMut(T, Result<(), Loss>),
    ) {
        if self.batch.is_empty() {
            return;
        }
        for (index, socket) in sockets.iter().enumerate() {
            let mut messages = [Message::NONE; MOST];
            let count = self.batch.plan(index, &mut messages);
            let refused = self.batch.send(
                self.fast_path,
                socket,
                &messages[..count],
                &mut self.envelopes[..count],
                buffers,
                &mut outcome,
            );
            match refused {
                None => {}
                Some(Refused::Larger(largest)) => self.batch.trains.limit(largest),
                Some(Refused::Batches) => self.fast_path = FastPath::Portable,
            }
        }
        self.discard();
    }
}

#[cfg(test)]
mod tests;
