//! Datagrams in and out, one socket per listening address and worker.
//!
//! There are two twins behind one face, an [`Inbox`] and a [`Sender`]. The portable one makes a
//! system call per datagram, `recvmsg` or `sendmsg`; it is short, and says what the other must do.
//! The fast one moves batches (`recvmmsg`, `sendmmsg`) and, unless that is switched off, trains:
//! equal datagrams of one sender that arrive as one (`UDP_GRO`), and to one client that leave as
//! one (`UDP_SEGMENT`). [`FastPath`] chooses, and what the kernel refuses is done the other way.
//!
//! Both carry the local address (`IP_PKTINFO`), so that a socket bound to a wildcard answers from
//! the address that it was asked at. Nothing else of a packet's IP header is passed on: TTL, DSCP
//! and ECN of what we send are the socket's own.

mod abi;
mod batch;
mod sender;
mod socket;
pub(super) mod sys;
mod trains;

pub(super) use sender::{Outbound, Sender};
pub(super) use socket::{Arrival, Inbox, Reception, Socket};

/// How datagrams travel through the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FastPath {
    /// In batches and trains, as far as the kernel gives them.
    #[default]
    Auto,
    /// In batches, but nothing is left to the kernel or the network card to put together or to cut:
    /// for drivers that mangle what they cut.
    Off,
    /// One by one.
    Portable,
}

impl FastPath {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Off, Self::Portable];

    /// Whether several datagrams travel with one system call.
    fn has_batches(self) -> bool {
        self != Self::Portable
    }

    /// Whether several datagrams travel as one.
    fn has_trains(self) -> bool {
        self == Self::Auto
    }
}
