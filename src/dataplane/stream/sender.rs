//! Media on its way to connections: what a batch has for one of them leaves with one call.

use std::io::IoSlice;
use std::ops::Range;

use vizard_proto::address::FiveTuple;
use vizard_proto::transmit::Prefix;

use super::Connections;
use super::connection::{Connection, Urgency};
use crate::dataplane::counters::{Closed, Loss};

/// How many messages are gathered before they are sent.
const MOST: usize = 64;
/// What a message is made of: prefix, payload and padding.
const PARTS: usize = 3;
/// The most padding.
const PADDING: [u8; 4] = [0; 4];

/// A message to be sent: `prefix`, then the bytes at `body` of the buffers, then `padding` zero
/// bytes.
pub(crate) struct Outbound<'a> {
    pub(crate) to: &'a FiveTuple,
    /// The header, if it is not in the buffers with the rest.
    pub(crate) prefix: Option<&'a Prefix>,
    pub(crate) body: Range<usize>,
    /// How many zero bytes follow, at most 4.
    pub(crate) padding: usize,
}

struct Waiting<T> {
    /// The connection's place, and which message it is: what the messages are ordered by.
    order: (usize, usize),
    prefix: Option<Prefix>,
    body: Range<usize>,
    padding: usize,
    tag: T,
}

impl<T> Waiting<T> {
    fn parts<'a>(&'a self, buffers: &'a [u8]) -> [&'a [u8]; PARTS] {
        [
            self.prefix.as_ref().map_or(&[], Prefix::as_bytes),
            &buffers[self.body.clone()],
            &PADDING[..self.padding],
        ]
    }
}

/// A worker's sending side for connections. [`Self::push`] notes messages, [`Self::flush`] sends
/// them. Of each, it gives back the `tag` that it was pushed with, and says what became of it.
pub(crate) struct Sender<T> {
    waiting: Vec<Waiting<T>>,
}

impl<T: Copy> Sender<T> {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Vec::with_capacity(MOST),
        }
    }

    /// Whether [`Self::flush`] must come before the next [`Self::push`].
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() == MOST
    }

    /// Notes a message; there must be room for it.
    pub(crate) fn push(
        &mut self,
        connections: &Connections,
        message: &Outbound<'_>,
        tag: T,
    ) -> Result<(), Loss> {
        let place = connections.place_of(message.to).ok_or(Loss::NoConnection)?;
        self.waiting.push(Waiting {
            order: (place, self.waiting.len()),
            prefix: message.prefix.cloned(),
            body: message.body.clone(),
            padding: message.padding.min(PADDING.len()),
            tag,
        });
        Ok(())
    }

    /// Forgets what waits.
    pub(crate) fn discard(&mut self) {
        self.waiting.clear();
    }

    /// Sends what waits, of which the bodies lie in `buffers`; returns how many write
    /// calls it took.
    pub(crate) fn flush(
        &mut self,
        connections: &mut Connections,
        buffers: &[u8],
        mut outcome: impl FnMut(T, Result<(), Loss>),
    ) -> u64 {
        self.waiting.sort_unstable_by_key(|waiting| waiting.order);
        let mut calls = 0;
        let of_one = |one: &Waiting<T>, next: &Waiting<T>| one.order.0 == next.order.0;
        for messages in self.waiting.chunk_by(of_one) {
            let place = messages[0].order.0;
            let connection = connections.open_at(place);
            calls += u64::from(connection.as_ref().is_some_and(|it| !it.has_queue()));
            if !send(connection, messages, buffers, &mut outcome) {
                connections.mark_closing(place, Closed::Failed);
            }
        }
        self.waiting.clear();
        calls
    }
}

/// Sends messages to the one connection that they are for; whether it is sound.
fn send<T: Copy>(
    connection: Option<&mut Connection>,
    messages: &[Waiting<T>],
    buffers: &[u8],
    outcome: &mut impl FnMut(T, Result<(), Loss>),
) -> bool {
    let mut slices = [IoSlice::new(&[]); MOST * PARTS];
    let parts = messages.iter().flat_map(|message| message.parts(buffers));
    for (slice, part) in slices.iter_mut().zip(parts) {
        *slice = IoSlice::new(part);
    }
    let slices = &slices[..messages.len() * PARTS];
    let begun = connection.and_then(|it| it.write(slices).map(|written| (it, written)));
    let Some((connection, mut written)) = begun else {
        for message in messages {
            outcome(message.tag, Err(Loss::NoConnection));
        }
        return false;
    };
    for message in messages {
        let parts = message.parts(buffers);
        let taken = written.min(parts.iter().map(|part| part.len()).sum());
        written -= taken;
        let kept = connection.queue_rest(&parts, taken, Urgency::Media);
        outcome(message.tag, kept.then_some(()).ok_or(Loss::ConnectionFull));
    }
    true
}
