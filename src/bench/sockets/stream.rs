//! Connections: one for each client.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Protocol, Socket, Type};
use vizard_proto::framing::{Frame, next_frame};

use super::{Fault, Troubles, Wiring, no_socket};

/// What may wait in a connection before more is refused.
const BACKLOG: usize = 64 << 10;
/// Largest message.
const LARGEST: usize = 16 << 10;

/// See the module's description.
pub(in crate::bench) struct Streams {
    connections: Vec<Connection>,
    /// Those with something to write.
    dirty: Vec<usize>,
    epoll: Epoll,
    ready: Vec<EpollEvent>,
    scratch: Vec<u8>,
    pub(super) troubles: Troubles,
}

struct Connection {
    socket: Socket,
    open: bool,
    waiting: Vec<u8>,
    /// The beginning of a message.
    partial: Vec<u8>,
    dirty: bool,
}

impl Streams {
    /// Begins `count` connections to `remote`. What is sent before one is there waits for it.
    pub(in crate::bench) fn open(
        wiring: &Wiring,
        count: usize,
        remote: SocketAddr,
    ) -> Result<Self, Fault> {
        let connections: Result<Vec<Connection>, _> = (0..count)
            .map(|index| connect(wiring, index, remote))
            .collect();
        let connections = connections.map_err(|error| no_socket(&error))?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
        let epoll = epoll.map_err(|error| no_socket(&error.into()))?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        for (index, connection) in connections.iter().enumerate() {
            let event = EpollEvent::new(flags, u64::try_from(index).unwrap_or(0));
            let added = epoll.add(&connection.socket, event);
            added.map_err(|error| no_socket(&error.into()))?;
        }
        Ok(Self {
            connections,
            dirty: Vec::new(),
            epoll,
            ready: vec![EpollEvent::empty(); 64],
            scratch: vec![0; LARGEST],
            troubles: Troubles::default(),
        })
    }

    /// How many connections have not ended.
    pub(in crate::bench) fn alive(&self) -> usize {
        self.connections.iter().filter(|it| it.open).count()
    }

    pub(super) fn send(&mut self, index: usize, len: usize, write: impl FnOnce(&mut [u8])) {
        let connection = &mut self.connections[index];
        let end = connection.waiting.len() + len.next_multiple_of(4);
        if !connection.open || end > BACKLOG {
            self.troubles.blocked += 1;
            return;
        }
        let start = connection.waiting.len();
        connection.waiting.resize(end, 0);
        write(&mut connection.waiting[start..start + len]);
        if !std::mem::replace(&mut connection.dirty, true) {
            self.dirty.push(index);
        }
    }

    pub(super) fn flush(&mut self) {
        for index in std::mem::take(&mut self.dirty) {
            self.connections[index].dirty = false;
            self.write(index);
        }
    }

    fn write(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        while connection.open && !connection.waiting.is_empty() {
            match connection.socket.write(&connection.waiting) {
                Ok(count) => drop(connection.waiting.drain(..count)),
                // Not connected yet is not an error, however it is told.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::NotConnected
                    ) =>
                {
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.troubles.broken += connection.close(),
            }
        }
    }

    pub(super) fn receive(&mut self, each: &mut impl FnMut(usize, bool, &mut [u8])) -> bool {
        let count = self.epoll.wait(&mut self.ready, EpollTimeout::ZERO);
        let mut any = false;
        for at in 0..count.unwrap_or(0) {
            let index = usize::try_from(self.ready[at].data()).unwrap_or(0);
            if self.ready[at].events().contains(EpollFlags::EPOLLOUT) {
                self.write(index);
            }
            any |= self.read(index, each);
        }
        any
    }

    /// Reads until there is no more, as the edge-triggered epoll wants it.
    fn read(&mut self, index: usize, each: &mut impl FnMut(usize, bool, &mut [u8])) -> bool {
        let connection = &mut self.connections[index];
        let mut any = false;
        while connection.open {
            let start = connection.partial.len();
            self.scratch[..start].copy_from_slice(&connection.partial);
            match connection.socket.read(&mut self.scratch[start..]) {
                Ok(0) => self.troubles.broken += connection.close(),
                Ok(count) => {
                    any = true;
                    let there = &mut self.scratch[..start + count];
                    match cut(there, &mut |message| each(index, true, message)) {
                        Some(used) => {
                            connection.partial.clear();
                            connection.partial.extend_from_slice(&there[used..]);
                        }
                        None => self.troubles.broken += connection.close(),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::NotConnected
                    ) =>
                {
                    break;
                }
                Err(_) => self.troubles.broken += connection.close(),
            }
        }
        any
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Connection {
    /// Ends it; one, as the number of connections that broke.
    fn close(&mut self) -> u64 {
        self.open = false;
        self.waiting.clear();
        1
    }
}

/// Hands the whole messages at the start of `stream` out; how many bytes they are, or `None` if
/// there is something else.
fn cut(stream: &mut [u8], each: &mut impl FnMut(&mut [u8])) -> Option<usize> {
    let mut used = 0;
    loop {
        match next_frame(&stream[used..], LARGEST) {
            Frame::Complete { message, total } => {
                each(&mut stream[used..used + message]);
                used += total;
            }
            Frame::Incomplete { .. } => return Some(used),
            Frame::TooLong { .. } | Frame::Invalid => return None,
        }
    }
}

fn connect(wiring: &Wiring, index: usize, remote: SocketAddr) -> std::io::Result<Connection> {
    let domain = Domain::for_address(remote);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(sources) = wiring.sources {
        let offset = wiring.first + u32::try_from(index).unwrap_or(0);
        socket
            .set_freebind_v4(true)
            .or_else(|_| socket.set_freebind_v6(true))?;
        socket.bind(&SocketAddr::new(sources.nth(offset), 0).into())?;
    }
    match socket.connect(&remote.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    Ok(Connection {
        socket,
        open: true,
        waiting: Vec::new(),
        partial: Vec::new(),
        dirty: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_messages() {
        let mut stream = *b"\x40\x01\x00\x01a\0\0\0\x40\x02\x00\x04abcd\x40";
        let mut found = Vec::new();
        let used = cut(&mut stream, &mut |message| found.push(message.to_vec()));
        assert_eq!(used, Some(16));
        assert_eq!(found, [&b"\x40\x01\x00\x01a"[..], b"\x40\x02\x00\x04abcd"]);
        assert_eq!(cut(&mut [200; 8], &mut |_| {}), None);
    }
}
