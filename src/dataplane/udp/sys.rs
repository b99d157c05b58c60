//! The room for `unsafe`: system calls that have no safe wrapper which neither allocates nor needs
//! the same source for a whole batch. `tests/walls.rs` keeps all other files free of it.
#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::mem::{size_of_val, zeroed};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::null_mut;

use nix::errno::Errno;
use nix::libc::{self, c_int};
use vizard_proto::address::Family;

use super::abi::{NAME, control_space};

/// How many datagrams are received, or sent, with one call at most.
pub(super) const MOST: usize = 64;
/// Room for what the kernel says of a datagram: destination, segment size, overflows.
const CONTROL: usize = control_space(20) + 2 * control_space(4);
/// The smallest packet that every IPv6 link carries (RFC 8200 section 5).
const SMALLEST_IPV6_MTU: c_int = 1280;

/// Has nothing that a socket sends depend on what the network says of a path. Without this, anybody
/// who forges "fragmentation needed" about us and a suspected address changes how packets to that
/// address leave, and can watch the change from the other side of a call.
///
/// No packet carries DF, so that routers fragment what a link does not take. Over IPv6 no router
/// does; what is larger than the interface's own packets leaves in fragments that fit every link.
pub(crate) fn ignore_path_mtu(socket: &impl AsFd, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => set(
            socket,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_OMIT,
        ),
        Family::V6 => {
            set(
                socket,
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_OMIT,
            )?;
            set(
                socket,
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU,
                SMALLEST_IPV6_MTU,
            )
        }
    }
}

/// Sets an option that is an integer.
pub(super) fn set(socket: &impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let len = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel reads `len` bytes,
    // which are `value`'s.
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), len) };
    Errno::result(result)?;
    Ok(())
}

/// What came with a datagram.
#[derive(Clone)]
pub(super) struct Received {
    name: [u8; NAME],
    control: [u8; CONTROL],
    control_len: usize,
    len: usize,
    flags: c_int,
}

impl Received {
    pub(super) const NONE: Self = Self {
        name: [0; NAME],
        control: [0; CONTROL],
        control_len: 0,
        len: 0,
        flags: 0,
    };

    /// The sender's address.
    pub(super) fn name(&self) -> &[u8; NAME] {
        &self.name
    }

    /// The ancillary data.
    pub(super) fn control(&self) -> &[u8] {
        &self.control[..self.control_len.min(CONTROL)]
    }

    /// How many bytes were put into its buffer.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether all of it was.
    pub(super) fn is_whole(&self) -> bool {
        self.flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) == 0
    }

    /// A header that has the kernel write here and into the buffer that `part` names. It is good as
    /// long as both stay where they are.
    fn header(&mut self, part: &mut libc::iovec) -> libc::msghdr {
        self.name = [0; NAME];
        // SAFETY: zero is a value of every field: null pointers and lengths of 0.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_name = self.name.as_mut_ptr().cast();
        header.msg_namelen = libc::socklen_t::try_from(NAME).unwrap_or_default();
        header.msg_iov = part;
        header.msg_iovlen = 1;
        header.msg_control = self.control.as_mut_ptr().cast();
        header.msg_controllen = CONTROL;
        header
    }

    fn note(&mut self, header: &libc::msghdr, len: usize) {
        self.control_len = header.msg_controllen;
        self.flags = header.msg_flags;
        self.len = len;
    }
}

/// Receives datagrams, each into `room` bytes at the start of another piece of `stride` bytes of
/// `buffers`; how many there were.
pub(super) fn receive_many(
    socket: &impl AsFd,
    buffers: &mut [u8],
    (stride, room): (usize, usize),
    received: &mut [Received; MOST],
) -> Result<usize, Errno> {
    // SAFETY: zero is a value of every field: null pointers and lengths of 0.
    let (mut headers, mut parts): ([libc::mmsghdr; MOST], [libc::iovec; MOST]) =
        unsafe { (zeroed(), zeroed()) };
    let mut wanted = 0;
    let places = headers.iter_mut().zip(&mut parts).zip(&mut *received);
    for (((header, part), received), buffer) in places.zip(buffers.chunks_exact_mut(stride)) {
        *part = iovec(&mut buffer[..room]);
        header.msg_hdr = received.header(part);
        wanted += 1;
    }
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as it is borrowed. The first `wanted` headers point to
    // buffers, names and control data that are borrowed exclusively until after the call, each with
    // its length; there is no timeout.
    let count = unsafe {
        libc::recvmmsg(
            fd,
            headers.as_mut_ptr(),
            wanted,
            libc::MSG_DONTWAIT,
            null_mut(),
        )
    };
    let count = usize::try_from(Errno::result(count)?).unwrap_or_default();
    for (header, received) in headers.iter().zip(received).take(count) {
        received.note(&header.msg_hdr, header.msg_len as usize);
    }
    Ok(count)
}

/// Receives one datagram.
pub(super) fn receive_one(
    socket: &impl AsFd,
    buffer: &mut [u8],
    received: &mut Received,
) -> Result<(), Errno> {
    let mut part = iovec(buffer);
    let mut header = received.header(&mut part);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as it is borrowed, and the header points to a buffer,
    // a name and control data that are borrowed exclusively until after the call.
    let len = unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_DONTWAIT) };
    let len = usize::try_from(Errno::result(len)?).unwrap_or_default();
    received.note(&header, len);
    Ok(())
}

fn iovec(buffer: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    }
}

/// What is sent.
#[derive(Clone, Copy, Default)]
pub(super) struct Outgoing<'a> {
    /// The receiver's address.
    pub(super) name: &'a [u8],
    /// Ancillary data.
    pub(super) control: &'a [u8],
    /// The datagram.
    pub(super) parts: &'a [IoSlice<'a>],
}

impl Outgoing<'_> {
    /// A header that has the kernel read from here. It is good as long as what is borrowed is.
    fn header(&self) -> libc::msghdr {
        // SAFETY: zero is a value of every field: null pointers and lengths of 0.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_name = self.name.as_ptr().cast_mut().cast();
        header.msg_namelen = libc::socklen_t::try_from(self.name.len()).unwrap_or_default();
        // `IoSlice` is an `iovec` by its documentation.
        header.msg_iov = self.parts.as_ptr().cast_mut().cast();
        header.msg_iovlen = self.parts.len();
        header.msg_control = self.control.as_ptr().cast_mut().cast();
        header.msg_controllen = self.control.len();
        header
    }
}

/// Sends datagrams; how many of the first were sent. An error is the first one's.
pub(super) fn send_many(socket: &impl AsFd, outgoing: &[Outgoing<'_>]) -> Result<usize, Errno> {
    // SAFETY: zero is a value of every field: null pointers and lengths of 0.
    let mut headers: [libc::mmsghdr; MOST] = unsafe { zeroed() };
    let mut count = 0;
    for (header, outgoing) in headers.iter_mut().zip(outgoing) {
        header.msg_hdr = outgoing.header();
        count += 1;
    }
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as it is borrowed. The first `count` headers point to
    // names, control data and parts that are borrowed until after the call, each with its length;
    // the kernel only reads through them.
    let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
    Ok(usize::try_from(Errno::result(sent)?).unwrap_or_default())
}

/// Sends one datagram.
pub(super) fn send_one(socket: &impl AsFd, outgoing: &Outgoing<'_>) -> Result<(), Errno> {
    let header = outgoing.header();
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open as long as it is borrowed, and the header points to a name,
    // control data and parts that are borrowed until after the call.
    let sent = unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_DONTWAIT) };
    Errno::result(sent)?;
    Ok(())
}
