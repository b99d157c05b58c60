//! One client's TCP connection.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::time::Duration;

use mio::net::TcpStream;
use vizard_proto::address::{Client, FiveTuple};

use crate::dataplane::batch::SLOT;

/// Media that may wait for a client that does not read fast enough, in bytes. Kept small: late
/// media is worth nothing.
const MEDIA_QUEUE: usize = 16 * 1024;
/// Media and answers that may wait, in bytes.
const WHOLE_QUEUE: usize = 32 * 1024;
/// The most that is read at once, so that one busy client does not keep the others waiting.
const READ_SIZE: usize = 16 * 1024;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// May be lost.
    Media,
    /// Must arrive.
    Answer,
}

/// What became of a message for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way, or waits in the queue.
    Done,
    /// There was no room.
    NoRoom,
    /// The connection is broken.
    Broken,
}

/// What reading gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// So many bytes stand at the start of the arena.
    Some {
        /// How many.
        len: usize,
        /// Whether there may be more in the socket. A stream that gave less than it was asked for
        /// has no more, and says so when that changes (epoll(7)).
        is_more: bool,
    },
    /// Nothing more is there.
    Nothing,
    /// The client has closed it.
    Closed,
    /// The connection is broken.
    Broken,
}

/// The start of a message.
struct Rest {
    buffer: Box<[u8; SLOT]>,
    len: usize,
}

/// Buffers that the connections of a worker keep the starts of messages in. A connection has one
/// only while it waits for the rest of a message.
#[derive(Default)]
pub(super) struct Spares(Vec<Box<[u8; SLOT]>>);

impl Spares {
    /// How many are held ready, so that media that comes in pieces allocates nothing.
    const MOST: usize = 64;

    fn take(&mut self) -> Box<[u8; SLOT]> {
        self.0.pop().unwrap_or_else(|| Box::new([0; SLOT]))
    }

    fn give_back(&mut self, buffer: Box<[u8; SLOT]>) {
        if self.0.len() < Self::MOST {
            self.0.push(buffer);
        }
    }
}

pub(super) struct Connection {
    stream: TcpStream,
    client: Client,
    /// Tells it from another one that had the same place before.
    pub(super) serial: u64,
    /// Whether it is in the list of those that have something to read.
    pub(super) is_ready: bool,
    /// Whether the client has closed its side. We are told once, perhaps together with its last
    /// bytes, so everything is read until the end comes.
    pub(super) is_ending: bool,
    /// Whether it is to be closed at the end of the turn.
    pub(super) is_closing: bool,
    /// The start of a message whose rest has not come yet.
    rest: Option<Rest>,
    /// How many bytes to come belong to a message that is longer than any that is passed on;
    /// `None` until a whole message has come. Before that, bytes that would be a very long one are
    /// another protocol: "GET " is a `ChannelData` header, as numbers go.
    to_pass_over: Option<usize>,
    queue: VecDeque<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, client: Client, serial: u64) -> Self {
        Self {
            stream,
            client,
            serial,
            is_ready: false,
            is_ending: false,
            is_closing: false,
            rest: None,
            to_pass_over: None,
            queue: VecDeque::new(),
        }
    }

    pub(super) fn client(&self) -> Client {
        self.client
    }

    pub(super) fn tuple(&self) -> &FiveTuple {
        &self.client.tuple
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Throws away what waits to be sent, here and in the kernel, when the connection closes.
    pub(super) fn discard(&mut self) {
        self.queue.clear();
        // Without lingering, closing is a reset. If it fails the kernel sends on what it has: a
        // few packets of a call that has just ended.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Puts what was kept, and after it what the socket has, at the start of `arena`. The buffer
    /// that something was kept in goes to `spares`.
    pub(super) fn fill(&mut self, arena: &mut [u8], spares: &mut Spares) -> Filled {
        let kept = self.rest.as_ref().map_or(0, |rest| rest.len);
        let (len, is_more) = loop {
            match self.stream.read(&mut arena[kept..kept + READ_SIZE]) {
                Ok(0) => return Filled::Closed,
                Ok(len) => break (len, len == READ_SIZE || self.is_ending),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => return Filled::Nothing,
                    _ => return Filled::Broken,
                },
            }
        };
        if let Some(Rest { buffer, len }) = self.rest.take() {
            arena[..len].copy_from_slice(&buffer[..len]);
            spares.give_back(buffer);
        }
        // Nothing is kept while there is something to pass over: it would be passed over as well.
        let mut passed_over = 0;
        if let Some(to_pass_over @ 1..) = &mut self.to_pass_over {
            passed_over = len.min(*to_pass_over);
            *to_pass_over -= passed_over;
            arena.copy_within(passed_over..len, 0);
        }
        Filled::Some {
            len: kept + len - passed_over,
            is_more,
        }
    }

    /// Keeps the start of a message until the rest of it comes.
    pub(super) fn keep(&mut self, rest: &[u8], spares: &mut Spares) {
        if rest.is_empty() {
            return;
        }
        let mut buffer = spares.take();
        // What is longer than this is passed over, so the start of a message always fits.
        let len = rest.len().min(SLOT);
        buffer[..len].copy_from_slice(&rest[..len]);
        self.rest = Some(Rest { buffer, len });
    }

    /// Whether a whole message has come.
    pub(super) fn is_turn(&self) -> bool {
        self.to_pass_over.is_some()
    }

    /// A whole message has come.
    pub(super) fn note_turn(&mut self) {
        self.to_pass_over.get_or_insert(0);
    }

    /// Passes over the next `len` bytes that come.
    pub(super) fn pass_over(&mut self, len: usize) {
        self.to_pass_over = Some(len);
    }

    /// Whether something waits to be sent.
    pub(super) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Writes as much of `slices` as the socket takes: nothing while something waits. `None` if the
    /// connection is broken.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> Option<usize> {
        if self.has_queue() {
            return Some(0);
        }
        loop {
            match self.stream.write_vectored(slices) {
                Ok(written) => return Some(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Some(0),
                Err(_) => return None,
            }
        }
    }

    /// Queues what the socket did not take of a message made of `parts`: all but the first `written`
    /// bytes. Whether there was room: a message that has been begun is always queued.
    pub(super) fn queue_rest(&mut self, parts: &[&[u8]], written: usize, urgency: Urgency) -> bool {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let room = match urgency {
            Urgency::Media => MEDIA_QUEUE,
            Urgency::Answer => WHOLE_QUEUE,
        };
        if written == 0 && self.queue.len() + len > room {
            return false;
        }
        self.enqueue(parts, written);
        true
    }

    /// Sends an answer, or queues what the socket does not take.
    pub(super) fn send_answer(&mut self, answer: &[u8]) -> Sent {
        match self.write(&[IoSlice::new(answer)]) {
            None => Sent::Broken,
            Some(written) if self.queue_rest(&[answer], written, Urgency::Answer) => Sent::Done,
            Some(_) => Sent::NoRoom,
        }
    }

    /// Queues `parts` without their first `skip` bytes.
    fn enqueue(&mut self, parts: &[&[u8]], mut skip: usize) {
        for part in parts {
            let skipped = skip.min(part.len());
            self.queue.extend(&part[skipped..]);
            skip -= skipped;
        }
    }

    /// Writes what waits, as far as the socket takes it; whether the connection is sound.
    pub(super) fn flush(&mut self) -> bool {
        while !self.queue.is_empty() {
            let (front, back) = self.queue.as_slices();
            match self
                .stream
                .write_vectored(&[IoSlice::new(front), IoSlice::new(back)])
            {
                Ok(0) => return false,
                Ok(written) => {
                    self.queue.drain(..written);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        // Who was slow once does not keep the memory.
        self.queue = VecDeque::new();
        true
    }
}

#[cfg(test)]
mod tests {
    use vizard_proto::address::Transport;

    use super::*;

    /// A connection, and the client's end of it.
    fn connection() -> (Connection, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let local = listener.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(local).expect("accepted");
        let (stream, remote) = listener.accept().expect("it is there");
        stream.set_nonblocking(true).expect("a socket");
        let transport = Transport::Tcp;
        let tuple = FiveTuple {
            transport,
            local,
            remote,
        };
        let client_of = Client { tuple, worker: 0 };
        let connection = Connection::new(TcpStream::from_std(stream), client_of, 1);
        (connection, client)
    }

    /// What comes next, once it has come.
    fn filled(connection: &mut Connection, spares: &mut Spares) -> Vec<u8> {
        let mut arena = vec![0; SLOT + READ_SIZE];
        loop {
            match connection.fill(&mut arena, spares) {
                Filled::Some { len, .. } => return arena[..len].to_vec(),
                Filled::Nothing => std::thread::yield_now(),
                Filled::Closed | Filled::Broken => panic!("it is open"),
            }
        }
    }

    #[test]
    fn only_the_start_of_a_message_takes_memory() {
        let (mut connection, mut client) = connection();
        let mut spares = Spares::default();
        connection.keep(b"", &mut spares);
        assert!(connection.rest.is_none(), "nothing waits");
        connection.keep(b"ab", &mut spares);
        assert!(connection.rest.is_some());
        client.write_all(b"cd").expect("sent");
        assert_eq!(filled(&mut connection, &mut spares), b"abcd");
        assert!(connection.rest.is_none());
        assert_eq!(spares.0.len(), 1, "the buffer is there for the next");
        connection.keep(b"ef", &mut spares);
        assert_eq!(spares.0.len(), 0);
        for _ in 0..Spares::MOST + 5 {
            spares.give_back(Box::new([0; SLOT]));
        }
        assert_eq!(spares.0.len(), Spares::MOST, "and no more than that");
    }

    #[test]
    fn so_many_bytes_are_passed_over() {
        let (mut connection, mut client) = connection();
        let mut spares = Spares::default();
        assert!(!connection.is_turn());
        connection.note_turn();
        connection.pass_over(5);
        client.write_all(b"long").expect("sent");
        let mut said = filled(&mut connection, &mut spares);
        client.write_all(b"!next").expect("sent");
        said.extend(filled(&mut connection, &mut spares));
        assert_eq!(said, b"next");
        connection.note_turn();
        client.write_all(b"more").expect("sent");
        assert_eq!(filled(&mut connection, &mut spares), b"more");
    }

    #[test]
    fn a_queue_that_has_left_takes_no_memory() {
        let (mut connection, mut client) = connection();
        let chunk = [7; 8192];
        while connection.queue.is_empty() {
            let written = connection.write(&[IoSlice::new(&chunk)]).expect("open");
            assert!(connection.queue_rest(&[&chunk], written, Urgency::Media));
        }
        let mut buffer = vec![0; 1 << 20];
        while !connection.queue.is_empty() {
            assert!(client.read(&mut buffer).expect("there is some") > 0);
            assert!(connection.flush());
        }
        assert_eq!(connection.queue.capacity(), 0);
    }
}
