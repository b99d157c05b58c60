//! The datagrams of a batch, and how they are put before the kernel.

use std::io::IoSlice;
use std::ops::Range;

use nix::errno::Errno;

use super::abi::{self, NAME, control_space};
use super::sys::{self, MOST, Outgoing};
use super::trains::{SHORTEST, Train, Trains};
use super::{FastPath, Outbound, Socket};
use crate::dataplane::counters::Loss;

/// Room for a whole answer, or for the header of something that is passed on.
const HEAD: usize = 1024;
/// The most padding.
const PADDING: [u8; 4] = [0; 4];
/// Room for a source address and a segment size.
const CONTROL: usize = control_space(20) + control_space(2);

/// What waits.
struct Waiting<T> {
    head: usize,
    body: Range<usize>,
    padding: usize,
    tag: T,
}

/// See the module's description.
pub(super) struct Batch<T> {
    waiting: Vec<Waiting<T>>,
    heads: Box<[[u8; HEAD]]>,
    pub(super) trains: Trains,
}

impl<T: Copy> Batch<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Vec::with_capacity(MOST),
            heads: vec![[0; HEAD]; MOST].into_boxed_slice(),
            trains: Trains::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() == MOST
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.trains.clear();
    }

    /// Notes a datagram for a socket; there must be room for it.
    pub(super) fn push(
        &mut self,
        socket: usize,
        datagram: &Outbound<'_>,
        tag: T,
    ) -> Result<(), Loss> {
        let &Outbound {
            from,
            to,
            head,
            ref body,
            padding,
        } = datagram;
        let room = self.heads.get_mut(self.waiting.len());
        let room = room.and_then(|room| room.get_mut(..head.len()));
        room.ok_or(Loss::SendBlocked)?.copy_from_slice(head);
        let padding = padding.min(PADDING.len());
        self.trains
            .push(socket, from, to, head.len() + body.len() + padding);
        self.waiting.push(Waiting {
            head: head.len(),
            body: body.clone(),
            padding,
            tag,
        });
        Ok(())
    }

    /// What leaves from a socket, in order; how many messages that makes.
    pub(super) fn plan(&self, socket: usize, messages: &mut [Message; MOST]) -> usize {
        let mut places = messages.iter_mut();
        let mut count = 0;
        for (index, train) in self.trains.all().iter().enumerate() {
            if train.socket != socket {
                continue;
            }
            let is_train = train.count >= SHORTEST;
            let shown = if is_train { 1 } else { train.count };
            let datagrams = self.trains.datagrams(train).take(shown);
            // In this order: the datagrams end first, and no place is taken for nothing.
            for (datagram, place) in datagrams.zip(places.by_ref()) {
                *place = Message {
                    train: index,
                    datagram,
                    is_train,
                };
                count += 1;
            }
        }
        count
    }

    /// Sends every message once. One that cannot be sent does not keep the others back.
    pub(super) fn send(
        &self,
        fast_path: FastPath,
        socket: &Socket,
        messages: &[Message],
        envelopes: &mut [Envelope],
        buffers: &[u8],
        outcome: &mut impl FnMut(T, Result<(), Loss>),
    ) -> Option<Refused> {
        let mut parts = [IoSlice::new(&[]); 3 * MOST];
        let mut outgoing = [Outgoing::default(); MOST];
        self.seal(messages, buffers, &mut parts, envelopes);
        for (outgoing, envelope) in outgoing.iter_mut().zip(&*envelopes) {
            *outgoing = envelope.outgoing(&parts);
        }
        let outgoing = &outgoing[..messages.len()];
        let (mut done, mut refused) = (0, None);
        while let Some(message) = messages.get(done) {
            let in_batches = fast_path.has_batches() && refused != Some(Refused::Batches);
            let sent = if in_batches && outgoing.len() - done > 1 {
                sys::send_many(socket, &outgoing[done..])
            } else {
                sys::send_one(socket, &outgoing[done]).map(|()| 1)
            };
            let result = match sent {
                Ok(count) => {
                    for message in &messages[done..done + count.max(1)] {
                        self.report(message, Ok(()), outcome);
                    }
                    done += count.max(1);
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::ENOSYS) if in_batches => {
                    refused = Some(Refused::Batches);
                    continue;
                }
                Err(error) => error,
            };
            if message.is_train && matches!(result, Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE) {
                let size = self.trains.all()[message.train].size;
                let is_size = result == Errno::EMSGSIZE;
                refused = Some(Refused::Larger(if is_size { size - 1 } else { 0 }));
                self.send_singly(socket, message, &envelopes[done], buffers, outcome);
            } else {
                self.report(message, Err(loss(result)), outcome);
            }
            done += 1;
        }
        refused
    }

    /// Puts the datagrams of messages one after the other into `parts`, and addresses into
    /// `envelopes`.
    fn seal<'a>(
        &'a self,
        messages: &[Message],
        buffers: &'a [u8],
        parts: &mut [IoSlice<'a>; 3 * MOST],
        envelopes: &mut [Envelope],
    ) {
        let mut end = 0;
        for (message, envelope) in messages.iter().zip(envelopes) {
            let start = end;
            for datagram in self.datagrams(message) {
                end += self.parts(datagram, buffers, &mut parts[end..]);
            }
            let train = &self.trains.all()[message.train];
            envelope.address(train, message.is_train, start..end);
        }
    }

    /// Puts the parts of a datagram at the start of `parts`; how many there are.
    fn parts<'a>(&'a self, datagram: usize, buffers: &'a [u8], parts: &mut [IoSlice<'a>]) -> usize {
        let Waiting {
            head,
            body,
            padding,
            ..
        } = &self.waiting[datagram];
        let body = buffers.get(body.clone()).unwrap_or_default();
        let all = [&self.heads[datagram][..*head], body, &PADDING[..*padding]];
        let there = all.into_iter().filter(|part| !part.is_empty());
        let mut count = 0;
        for (place, part) in parts.iter_mut().zip(there) {
            *place = IoSlice::new(part);
            count += 1;
        }
        count
    }

    /// The datagrams of a message, by their number in the batch.
    fn datagrams(&self, message: &Message) -> impl Iterator<Item = usize> + use<'_, T> {
        let train = &self.trains.all()[message.train];
        let (is_train, only) = (message.is_train, message.datagram);
        let all = self.trains.datagrams(train);
        all.filter(move |datagram| is_train || *datagram == only)
    }

    fn report(
        &self,
        message: &Message,
        result: Result<(), Loss>,
        outcome: &mut impl FnMut(T, Result<(), Loss>),
    ) {
        for datagram in self.datagrams(message) {
            outcome(self.waiting[datagram].tag, result);
        }
    }

    /// Sends the datagrams of a train that was refused as such.
    fn send_singly(
        &self,
        socket: &Socket,
        message: &Message,
        envelope: &Envelope,
        buffers: &[u8],
        outcome: &mut impl FnMut(T, Result<(), Loss>),
    ) {
        for datagram in self.datagrams(message) {
            let mut parts = [IoSlice::new(&[]); 3];
            let count = self.parts(datagram, buffers, &mut parts);
            let single = envelope.single(&parts[..count]);
            let result = loop {
                match sys::send_one(socket, &single) {
                    Err(Errno::EINTR) => {}
                    result => break result,
                }
            };
            outcome(self.waiting[datagram].tag, result.map_err(loss));
        }
    }
}

fn loss(error: Errno) -> Loss {
    match error {
        Errno::EAGAIN | Errno::ENOBUFS => Loss::SendBlocked,
        _ => Loss::SendFailed,
    }
}

/// What the kernel would not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Trains of datagrams larger than this.
    Larger(usize),
    /// Several messages with one call.
    Batches,
}

/// A train, or one datagram of a train that is too short to leave as one.
#[derive(Clone, Copy)]
pub(super) struct Message {
    train: usize,
    /// The first, or only, datagram.
    datagram: usize,
    is_train: bool,
}

impl Message {
    pub(super) const NONE: Self = Self {
        train: 0,
        datagram: 0,
        is_train: false,
    };
}

/// Where a message goes and comes from, as the kernel reads it.
#[derive(Clone)]
pub(super) struct Envelope {
    name: [u8; NAME],
    name_len: usize,
    control: [u8; CONTROL],
    /// How much of `control` says where it comes from.
    source_len: usize,
    control_len: usize,
    parts: (usize, usize),
}

impl Envelope {
    pub(super) const EMPTY: Self = Self {
        name: [0; NAME],
        name_len: 0,
        control: [0; CONTROL],
        source_len: 0,
        control_len: 0,
        parts: (0, 0),
    };

    fn address(&mut self, train: &Train, is_train: bool, parts: Range<usize>) {
        self.name_len = abi::write_name(train.to, &mut self.name);
        self.source_len = abi::write_source(&mut self.control, train.from);
        self.control_len = match u16::try_from(train.size) {
            Ok(size) if is_train => {
                abi::write_segment_size(&mut self.control, self.source_len, size)
            }
            _ => self.source_len,
        };
        self.parts = (parts.start, parts.end);
    }

    fn outgoing<'a>(&'a self, parts: &'a [IoSlice<'a>]) -> Outgoing<'a> {
        Outgoing {
            name: &self.name[..self.name_len],
            control: &self.control[..self.control_len],
            parts: &parts[self.parts.0..self.parts.1],
        }
    }

    fn single<'a>(&'a self, parts: &'a [IoSlice<'a>]) -> Outgoing<'a> {
        Outgoing {
            name: &self.name[..self.name_len],
            control: &self.control[..self.source_len],
            parts,
        }
    }
}
