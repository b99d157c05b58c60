//! The room for `unsafe`: socket options that have no safe wrapper. `tests/walls.rs` keeps all
//! other files of this program free of it.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use vizard_proto::address::Family;

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

fn set(socket: &impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let len = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel reads `len` bytes,
    // which are `value`'s.
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), len) };
    Errno::result(result)?;
    Ok(())
}
