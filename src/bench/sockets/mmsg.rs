//! Many datagrams per system call: `sendmmsg` and `recvmmsg`, each datagram with its own source
//! or destination address, and with UDP_SEGMENT and UDP_GRO where there are trains.
#![allow(
    unsafe_code,
    reason = "neither std nor nix sends a batch with a source address per datagram"
)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::libc;

/// Most datagrams, or trains of datagrams, in one system call.
pub const BATCH: usize = 64;

/// Room for the control messages of one datagram: an address (at most 20 bytes) and a segment size.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Control([u8; 96]);

/// Room for an address, and how much of it is used.
#[derive(Clone, Copy)]
struct Name {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

/// Datagrams that wait to be sent together.
pub struct Outbox {
    arena: Vec<u8>,
    used: usize,
    entries: Vec<Entry>,
    names: Vec<Name>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
}

/// A datagram that waits.
struct Entry {
    bytes: Range<usize>,
    to: Option<SocketAddr>,
    from: Option<IpAddr>,
    segment: u16,
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Route {
    /// The destination; `None` on a connected socket.
    pub to: Option<SocketAddr>,
    /// The source address; `None` leaves it to the socket.
    pub from: Option<IpAddr>,
    /// Where the kernel is to cut the bytes into datagrams (UDP_SEGMENT); 0: nowhere.
    pub segment: u16,
}

impl Outbox {
    /// Room for [`BATCH`] datagrams of at most `largest` bytes.
    pub fn new(largest: usize) -> Self {
        Self {
            arena: vec![0; BATCH * largest.next_multiple_of(64)],
            used: 0,
            entries: Vec::with_capacity(BATCH),
            names: vec![Name::EMPTY; BATCH],
            controls: vec![Control([0; 96]); BATCH],
            headers: vec![empty_header(); BATCH],
            vectors: vec![EMPTY_VECTOR; BATCH],
        }
    }

    /// How many datagrams wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether [`Self::send`] must come before another [`Self::push`].
    pub fn is_full(&self) -> bool {
        self.entries.len() == BATCH
    }

    /// Adds a datagram of `len` bytes, which `write` writes. Without room for it nothing is added.
    pub fn push(&mut self, route: Route, len: usize, write: impl FnOnce(&mut [u8])) {
        let bytes = self.used..self.used + len;
        if self.is_full() {
            return;
        }
        let Some(room) = self.arena.get_mut(bytes.clone()) else {
            return;
        };
        write(room);
        self.used = bytes.end;
        self.entries.push(Entry {
            bytes,
            to: route.to,
            from: route.from,
            segment: route.segment,
        });
    }

    /// Sends what waits through `socket`, and forgets it. Returns how many datagrams the kernel
    /// took, in order, and why it did not take the next.
    pub fn send(&mut self, socket: BorrowedFd<'_>) -> (usize, Option<io::Error>) {
        let count = self.entries.len();
        for index in 0..count {
            self.describe(index);
        }
        let mut sent = 0;
        let mut fault = None;
        while sent < count && fault.is_none() {
            // SAFETY: the first `count` headers were just pointed at the arena, `names`, `controls`
            // and `vectors`, all of which this struct owns and nobody touches until the call
            // returns.
            let done = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.headers[sent..count].as_mut_ptr(),
                    libc::c_uint::try_from(count - sent).unwrap_or(0),
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(done) {
                Ok(done) => sent += done,
                Err(_) => fault = Some(io::Error::last_os_error()),
            }
        }
        self.entries.clear();
        self.used = 0;
        (sent, fault)
    }

    /// Brings the header of an entry into line with it.
    fn describe(&mut self, index: usize) {
        let entry = &self.entries[index];
        self.vectors[index] = vector(&mut self.arena[entry.bytes.clone()]);
        self.headers[index] = empty_header();
        let header = &mut self.headers[index].msg_hdr;
        header.msg_iov = &raw mut self.vectors[index];
        header.msg_iovlen = 1;
        if let Some(to) = entry.to {
            self.names[index] = Name::of(to);
            header.msg_name = (&raw mut self.names[index].storage).cast();
            header.msg_namelen = self.names[index].len;
        }
        if entry.from.is_some() || entry.segment > 0 {
            header.msg_control = (&raw mut self.controls[index].0).cast();
            write_control(header, entry);
        }
    }
}

// SAFETY: the pointers in `headers` and `vectors` are set anew in each `send` and are used in it
// only.
unsafe impl Send for Outbox {}

/// Room for datagrams that arrive together.
pub struct Inbox {
    arena: Vec<u8>,
    stride: usize,
    names: Vec<Name>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
}

/// A datagram, or a train of datagrams, that arrived.
pub struct Datagram<'a> {
    /// The bytes.
    pub bytes: &'a mut [u8],
    /// Where they come from.
    pub from: Option<SocketAddr>,
    /// Which of our addresses they were sent to, where the socket tells.
    pub to: Option<IpAddr>,
    /// Length of each datagram but the last in a train (UDP_GRO); 0: it is one.
    pub segment: usize,
}

// SAFETY: the pointers in `headers` and `vectors` are set anew in each `receive` and are used in
// it only.
unsafe impl Send for Inbox {}

impl Inbox {
    /// Room for [`BATCH`] datagrams of at most `largest` bytes.
    pub fn new(largest: usize) -> Self {
        let stride = largest.next_multiple_of(64);
        Self {
            arena: vec![0; BATCH * stride],
            stride,
            names: vec![Name::EMPTY; BATCH],
            controls: vec![Control([0; 96]); BATCH],
            headers: vec![empty_header(); BATCH],
            vectors: vec![EMPTY_VECTOR; BATCH],
        }
    }

    /// Takes what has arrived at `socket`, without waiting; how many there are.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let rooms = self.arena.chunks_exact_mut(self.stride);
        for (index, room) in rooms.enumerate() {
            self.vectors[index] = vector(room);
            let header = &mut self.headers[index].msg_hdr;
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.names[index].storage).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>().try_into().unwrap_or(0);
            header.msg_control = (&raw mut self.controls[index].0).cast();
            header.msg_controllen = size_of::<Control>() as _;
            header.msg_flags = 0;
        }
        // SAFETY: the headers were just pointed at the arena, `names`, `controls` and `vectors`,
        // all of which this struct owns and nobody touches until the call returns.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                libc::c_uint::try_from(BATCH).unwrap_or(0),
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// One of those that the last [`Self::receive`] took.
    pub fn datagram(&mut self, index: usize) -> Datagram<'_> {
        let header = &self.headers[index];
        let len = (header.msg_len as usize).min(self.stride);
        let start = index * self.stride;
        let (to, segment) = read_control(&header.msg_hdr);
        Datagram {
            bytes: &mut self.arena[start..start + len],
            from: self.names[index].read(),
            to,
            segment,
        }
    }
}

const EMPTY_VECTOR: libc::iovec = libc::iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

fn vector(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: null pointers, lengths of zero and no flags are what an empty header is.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

impl Name {
    const EMPTY: Self = Self {
        // SAFETY: a family of zero and no bytes is an unspecified address.
        storage: unsafe { mem::zeroed() },
        len: 0,
    };

    fn of(address: SocketAddr) -> Self {
        let address = socket2::SockAddr::from(address);
        // SAFETY: SockAddr holds a sockaddr_storage of which the first `len` bytes are the address.
        let storage = unsafe { *address.as_ptr().cast() };
        Self {
            storage,
            len: address.len(),
        }
    }

    fn read(&self) -> Option<SocketAddr> {
        let storage = &raw const self.storage;
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the kernel wrote a sockaddr_in, as its family says.
                let v4 = unsafe { *storage.cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: the kernel wrote a sockaddr_in6, as its family says.
                let v6 = unsafe { *storage.cast::<libc::sockaddr_in6>() };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, 0).into())
            }
            _ => None,
        }
    }
}

/// Puts the source address and the segment size in front of the kernel.
fn write_control(header: &mut libc::msghdr, entry: &Entry) {
    header.msg_controllen = size_of::<Control>() as _;
    let mut used = 0;
    let mut put = |level, kind, value: &[u8], at: *mut libc::cmsghdr| {
        // SAFETY: `at` is a control message header inside of a `Control`, which has room for this
        // value (at most 20 bytes) and a later one of 2, each with header and padding.
        unsafe {
            let len = u32::try_from(value.len()).unwrap_or(0);
            (*at).cmsg_level = level;
            (*at).cmsg_type = kind;
            (*at).cmsg_len = libc::CMSG_LEN(len) as _;
            ptr::copy_nonoverlapping(value.as_ptr(), libc::CMSG_DATA(at), value.len());
            used += libc::CMSG_SPACE(len) as usize;
        }
    };
    // SAFETY: the header's control pointer and length are those of a `Control`.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    if let Some(from) = entry.from {
        let mut value = [0; 20];
        let (level, kind, len) = match from {
            IpAddr::V4(ip) => {
                // in_pktinfo: interface, source, (destination).
                value[4..8].copy_from_slice(&ip.octets());
                (libc::IPPROTO_IP, libc::IP_PKTINFO, 12)
            }
            IpAddr::V6(ip) => {
                // in6_pktinfo: source, interface.
                value[..16].copy_from_slice(&ip.octets());
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20)
            }
        };
        put(level, kind, &value[..len], at);
        // SAFETY: as above; the first message's length was just written.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
    if entry.segment > 0 && !at.is_null() {
        put(
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            &entry.segment.to_ne_bytes(),
            at,
        );
    }
    header.msg_controllen = used as _;
}

/// The destination address and the segment size, as far as the kernel told them.
fn read_control(header: &libc::msghdr) -> (Option<IpAddr>, usize) {
    let (mut to, mut segment) = (None, 0);
    // SAFETY: the control buffer is a `Control` of this inbox, filled by the kernel, whose length
    // field says how much of it is there.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return headers inside of the control buffer, and
        // the kernel wrote a value of the type that level and type name behind each.
        unsafe {
            let data = libc::CMSG_DATA(at);
            match ((*at).cmsg_level, (*at).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    to = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    to = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size: libc::c_int = ptr::read_unaligned(data.cast());
                    segment = usize::try_from(size).unwrap_or(0);
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    (to, segment)
}

/// How many datagrams `socket` threw away for want of room (SO_MEMINFO).
pub fn drops(socket: BorrowedFd<'_>) -> u64 {
    const SO_MEMINFO: libc::c_int = 55;
    const DROPS: usize = 8;
    let mut info = [0_u32; 16];
    let mut len = libc::socklen_t::try_from(size_of_val(&info)).unwrap_or(0);
    // SAFETY: `info` and its length in bytes, which the kernel does not write beyond.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let there = done == 0 && len as usize > DROPS * size_of::<u32>();
    if there { info[DROPS].into() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    fn receiver() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").expect("a socket")
    }

    /// Waits for the first, then takes what is there.
    fn arrived(socket: &UdpSocket, inbox: &mut Inbox) -> usize {
        socket.peek_from(&mut [0; 1]).expect("a datagram");
        inbox.receive(socket.as_fd()).expect("datagrams")
    }

    #[test]
    fn each_datagram_has_its_own_source_and_destination() {
        let (one, two) = (receiver(), receiver());
        let sender = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let mut outbox = Outbox::new(100);
        for (socket, host, words) in [(&one, 7, "first"), (&two, 8, "second")] {
            let route = Route {
                to: Some(socket.local_addr().expect("bound")),
                from: Some(Ipv4Addr::new(127, 0, 0, host).into()),
                segment: 0,
            };
            outbox.push(route, words.len(), |room| {
                room.copy_from_slice(words.as_bytes());
            });
        }
        let (sent, fault) = outbox.send(sender.as_fd());
        assert!(
            sent == 2 && fault.is_none() && outbox.is_empty(),
            "{fault:?}"
        );
        let mut inbox = Inbox::new(100);
        for (socket, host, words) in [(&one, 7, "first"), (&two, 8, "second")] {
            assert_eq!(arrived(socket, &mut inbox), 1);
            let datagram = inbox.datagram(0);
            let from = datagram.from.map(|from| from.ip());
            assert_eq!(from, Some(Ipv4Addr::new(127, 0, 0, host).into()));
            assert_eq!(datagram.bytes, words.as_bytes());
        }
    }

    #[test]
    fn a_train_is_cut_and_comes_back_whole() {
        let socket = receiver();
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::UdpGroSegment, &true)
            .expect("UDP_GRO");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut outbox = Outbox::new(100);
        let route = Route {
            to: Some(socket.local_addr().expect("bound")),
            from: None,
            segment: 30,
        };
        outbox.push(route, 90, |room| room.fill(5));
        let (sent, fault) = outbox.send(sender.as_fd());
        assert!(sent == 1 && fault.is_none(), "{fault:?}");
        let mut inbox = Inbox::new(200);
        assert_eq!(arrived(&socket, &mut inbox), 1);
        let datagram = inbox.datagram(0);
        assert_eq!((datagram.bytes.len(), datagram.segment), (90, 30));
    }

    #[test]
    fn nobody_at_home_is_an_error_and_the_rest_is_forgotten() {
        let gone = receiver().local_addr().expect("bound");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        sender.connect(gone).expect("connected");
        let mut outbox = Outbox::new(100);
        for _ in 0..2 {
            outbox.push(Route::default(), 1, |room| room.fill(1));
            outbox.send(sender.as_fd());
        }
        assert!(outbox.is_empty());
        assert!(Inbox::new(64).receive(sender.as_fd()).is_err());
    }

    #[test]
    fn what_finds_no_room_in_the_socket_is_counted_by_the_kernel() {
        let socket = receiver();
        socket2::SockRef::from(&socket)
            .set_recv_buffer_size(0)
            .expect("the least");
        let to = socket.local_addr().expect("bound");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for _ in 0..100 {
            sender.send_to(&[0; 1000], to).expect("sent");
        }
        assert!(drops(socket.as_fd()) > 0);
    }
}
