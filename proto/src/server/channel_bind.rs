//! ChannelBind (RFC 8656 section 12).

use core::net::SocketAddr;

use super::answer::Success;
use super::{ErrorCode, Relay};
use crate::address::Client;
use crate::allocation::{Allocation, CHANNEL_LIFETIME, Channel, PERMISSION_LIFETIME, make_room};
use crate::auth::login::Login;
use crate::channel_data::ChannelNumber;
use crate::id::AllocationId;
use crate::stun::Message;
use crate::time::Timestamp;

impl Relay {
    pub(super) fn channel_bind(
        &mut self,
        now: Timestamp,
        from: &Client,
        message: &Message<'_>,
        login: &Login,
    ) -> Result<Success, ErrorCode> {
        let id = self.allocation_of(from, login)?;
        let number = message.channel_number()?.and_then(ChannelNumber::new);
        let number = number.ok_or(ErrorCode::BAD_REQUEST)?;
        let peer = message.xor_peer_address()?.ok_or(ErrorCode::BAD_REQUEST)?;
        self.check_peer(id, peer.ip())?;
        self.check_binding(id, number, peer)?;
        self.check_room(id, &[peer.ip()])?;
        if let Some(allocation) = self.allocations.get_mut(&id) {
            bind(allocation, now, number, peer);
        }
        self.watch(id);
        self.sync_circuits_to(now, id, &[peer.ip()]);
        Ok(Success::default())
    }

    /// A channel keeps its peer and a peer its channel for as long as the binding lives.
    fn check_binding(
        &self,
        id: AllocationId,
        number: ChannelNumber,
        peer: SocketAddr,
    ) -> Result<(), ErrorCode> {
        let allocation = self.living(id)?;
        match (allocation.channel(number), allocation.channel_to(peer)) {
            (Some(channel), _) if channel.peer != peer => Err(ErrorCode::BAD_REQUEST),
            (_, Some(channel)) if channel.number != number => Err(ErrorCode::BAD_REQUEST),
            (None, None) if allocation.channels.len() >= self.config.limits.channels => {
                Err(ErrorCode::INSUFFICIENT_CAPACITY)
            }
            _ => Ok(()),
        }
    }
}

/// Makes or renews the binding, and the permission that goes with it.
fn bind(allocation: &mut Allocation, now: Timestamp, number: ChannelNumber, peer: SocketAddr) {
    let expires_at = now + CHANNEL_LIFETIME;
    let mut channels = allocation.channels.iter_mut();
    if let Some(channel) = channels.find(|channel| channel.number == number) {
        channel.expires_at = expires_at;
    } else {
        make_room(&mut allocation.channels);
        allocation.channels.push(Channel {
            number,
            peer,
            expires_at,
        });
    }
    allocation.permit(peer.ip(), now + PERMISSION_LIFETIME);
}
