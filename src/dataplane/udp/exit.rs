//! The way out: a batch of datagrams per socket and source address.

use std::collections::HashMap;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};

use ahash::RandomState;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, sendmmsg,
};
use vizard_proto::address::{Family, FiveTuple};

use super::Socket;
use crate::dataplane::counters::Loss;
use crate::dataplane::hash;
use crate::dataplane::worker::BATCH;

/// A worker's sending side. Datagrams that lie in the worker's arena are noted by
/// [`Self::push`] and leave together with [`Self::flush`].
pub(crate) struct Exit {
    by_local: HashMap<SocketAddr, usize, RandomState>,
    headers_v4: MultiHeaders<SockaddrIn>,
    headers_v6: MultiHeaders<SockaddrIn6>,
    waiting: [Waiting; BATCH],
    len: usize,
}

/// A datagram that waits to be sent.
#[derive(Clone)]
struct Waiting {
    socket: usize,
    source: SocketAddr,
    to: SocketAddr,
    bytes: Range<usize>,
}

impl Exit {
    pub(crate) fn new(sockets: &[Socket]) -> Self {
        let mut by_local = HashMap::with_hasher(hash::state());
        by_local.extend(
            sockets
                .iter()
                .enumerate()
                .map(|(index, it)| (it.bound(), index)),
        );
        let v4 = cmsg_space!(libc::in_pktinfo);
        let v6 = cmsg_space!(libc::in6_pktinfo);
        let nothing = Waiting {
            socket: 0,
            source: SocketAddr::from(([0, 0, 0, 0], 0)),
            to: SocketAddr::from(([0, 0, 0, 0], 0)),
            bytes: 0..0,
        };
        Self {
            by_local,
            headers_v4: MultiHeaders::preallocate(BATCH, Some(v4)),
            headers_v6: MultiHeaders::preallocate(BATCH, Some(v6)),
            waiting: std::array::from_fn(|_| nothing.clone()),
            len: 0,
        }
    }

    /// The socket that sends from `local`.
    fn socket_for(&self, local: SocketAddr) -> Option<usize> {
        let any: IpAddr = match Family::of(local.ip()) {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let wildcard = SocketAddr::new(any, local.port());
        self.by_local
            .get(&local)
            .or_else(|| self.by_local.get(&wildcard))
            .copied()
    }

    /// Whether [`Self::flush`] must come before the next [`Self::push`].
    pub(crate) fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// Notes that `bytes` of the arena go to the client of `tuple`; the batch must not be full.
    pub(crate) fn push(&mut self, tuple: &FiveTuple, bytes: Range<usize>) -> Result<(), Loss> {
        let socket = self.socket_for(tuple.local).ok_or(Loss::NoSocket)?;
        let place = self.waiting.get_mut(self.len).ok_or(Loss::SendBlocked)?;
        *place = Waiting {
            socket,
            source: tuple.local,
            to: tuple.remote,
            bytes,
        };
        self.len += 1;
        Ok(())
    }

    /// Forgets what waits.
    pub(crate) fn discard(&mut self) {
        self.len = 0;
    }

    /// Sends what waits. `outcome` hears for each datagram how long it was and what became of it.
    pub(crate) fn flush(
        &mut self,
        sockets: &[Socket],
        arena: &[u8],
        mut outcome: impl FnMut(usize, Result<(), Loss>),
    ) {
        let len = std::mem::take(&mut self.len);
        let mut start = 0;
        while start < len {
            let first = &self.waiting[start];
            let run = self.waiting[start..len]
                .iter()
                .take_while(|it| (it.socket, it.source) == (first.socket, first.source))
                .count();
            let Some(socket) = sockets.get(first.socket) else {
                return;
            };
            let batch = &self.waiting[start..start + run];
            let datagrams: [[IoSlice<'_>; 1]; BATCH] = std::array::from_fn(|index| {
                let bytes = batch.get(index).and_then(|it| arena.get(it.bytes.clone()));
                [IoSlice::new(bytes.unwrap_or_default())]
            });
            let receivers: [SocketAddr; BATCH] =
                std::array::from_fn(|index| batch.get(index).unwrap_or(first).to);
            let mut headers = Headers {
                v4: &mut self.headers_v4,
                v6: &mut self.headers_v6,
            };
            let source = first.source;
            headers.send_all(
                socket,
                source,
                &datagrams[..run],
                &receivers,
                |index, sent| {
                    outcome(batch[index].bytes.len(), sent);
                },
            );
            start += run;
        }
    }

    /// Sends one datagram, made of `parts`, at once.
    pub(crate) fn send<const N: usize>(
        &mut self,
        sockets: &[Socket],
        tuple: &FiveTuple,
        parts: [&[u8]; N],
    ) -> Result<(), Loss> {
        let socket = self
            .socket_for(tuple.local)
            .and_then(|index| sockets.get(index))
            .ok_or(Loss::NoSocket)?;
        let datagram = [parts.map(IoSlice::new)];
        let mut outcome = Ok(());
        let mut headers = Headers {
            v4: &mut self.headers_v4,
            v6: &mut self.headers_v6,
        };
        headers.send_all(
            socket,
            tuple.local,
            &datagram,
            &[tuple.remote; BATCH],
            |_, sent| outcome = sent,
        );
        outcome
    }
}

/// The prepared message headers of both families.
struct Headers<'h> {
    v4: &'h mut MultiHeaders<SockaddrIn>,
    v6: &'h mut MultiHeaders<SockaddrIn6>,
}

impl Headers<'_> {
    /// Sends every datagram once. One that cannot be sent does not keep the others back.
    fn send_all<const N: usize>(
        &mut self,
        socket: &Socket,
        source: SocketAddr,
        datagrams: &[[IoSlice<'_>; N]],
        receivers: &[SocketAddr; BATCH],
        mut outcome: impl FnMut(usize, Result<(), Loss>),
    ) {
        let mut done = 0;
        while done < datagrams.len() {
            match self.send_some(socket, source, &datagrams[done..], &receivers[done..]) {
                Ok(sent) if sent > 0 => {
                    (done..done + sent).for_each(|index| outcome(index, Ok(())));
                    done += sent;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    outcome(done, Err(Loss::SendBlocked));
                    done += 1;
                }
                Ok(_) | Err(_) => {
                    outcome(done, Err(Loss::SendFailed));
                    done += 1;
                }
            }
        }
    }

    fn send_some<const N: usize>(
        &mut self,
        socket: &Socket,
        source: SocketAddr,
        datagrams: &[[IoSlice<'_>; N]],
        receivers: &[SocketAddr],
    ) -> Result<usize, Errno> {
        let fd = socket.socket.as_raw_fd();
        match (socket.family(), source) {
            (Family::V4, SocketAddr::V4(source)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from(*source.ip()).to_be(),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                let receivers: [_; BATCH] =
                    std::array::from_fn(|index| match receivers.get(index) {
                        Some(SocketAddr::V4(to)) => Some(SockaddrIn::from(*to)),
                        _ => None,
                    });
                send(
                    fd,
                    self.v4,
                    datagrams,
                    &receivers,
                    &ControlMessage::Ipv4PacketInfo(&info),
                )
            }
            (Family::V6, SocketAddr::V6(source)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: source.ip().octets(),
                    },
                    ipi6_ifindex: source.scope_id(),
                };
                let receivers: [_; BATCH] =
                    std::array::from_fn(|index| match receivers.get(index) {
                        Some(SocketAddr::V6(to)) => Some(SockaddrIn6::from(*to)),
                        _ => None,
                    });
                send(
                    fd,
                    self.v6,
                    datagrams,
                    &receivers,
                    &ControlMessage::Ipv6PacketInfo(&info),
                )
            }
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }
}

/// How many of the first datagrams were sent.
fn send<S: SockaddrLike + Copy, const N: usize>(
    fd: RawFd,
    headers: &mut MultiHeaders<S>,
    datagrams: &[[IoSlice<'_>; N]],
    receivers: &[Option<S>; BATCH],
    source: &ControlMessage<'_>,
) -> Result<usize, Errno> {
    let source = std::slice::from_ref(source);
    let sent = sendmmsg(
        fd,
        headers,
        datagrams,
        receivers,
        source,
        MsgFlags::MSG_DONTWAIT,
    )?;
    Ok(sent.count())
}
