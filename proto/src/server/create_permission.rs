//! CreatePermission (RFC 8656 section 10).

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::answer::Success;
use super::{ErrorCode, Relay};
use crate::address::{Client, Family};
use crate::allocation::{Allocation, PERMISSION_LIFETIME};
use crate::auth::login::Login;
use crate::contract::AllocationId;
use crate::stun::Message;
use crate::time::Timestamp;

impl Relay {
    /// All of the named peers or none.
    pub(super) fn create_permission(
        &mut self,
        now: Timestamp,
        from: &Client,
        message: &Message<'_>,
        login: &Login,
    ) -> Result<Success, ErrorCode> {
        let id = self.allocation_of(from, login)?;
        let mut ips = Vec::new();
        for peer in message.xor_peer_addresses() {
            let ip = peer?.ip();
            self.check_peer(now, id, ip)?;
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        if ips.is_empty() {
            return Err(ErrorCode::BAD_REQUEST);
        }
        let fresh = ips.iter().filter(|ip| self.needs_place(id, **ip)).count();
        self.check_room(id, fresh)?;
        if let Some(allocation) = self.allocations.get_mut(&id) {
            for ip in &ips {
                allocation.permit(*ip, now + PERMISSION_LIFETIME);
            }
        }
        self.watch(id);
        self.sync_circuits_to(now, id, &ips);
        Ok(Success::default())
    }

    /// Whether `ip` is one that the allocation may deal with: a mask address of another party of
    /// its call. Permissions are per IP, so the port does not matter here; whether a packet may
    /// pass is decided per pair when it comes.
    ///
    /// A permission that still lives may be renewed though its peer has left: clients renew all of
    /// theirs in one request, which must not fail because one peer of a group is gone.
    pub(super) fn check_peer(
        &self,
        now: Timestamp,
        id: AllocationId,
        ip: IpAddr,
    ) -> Result<(), ErrorCode> {
        let allocation = self.living(id)?;
        if allocation.permits(now, ip) {
            return Ok(());
        }
        if self
            .neighbours(allocation)
            .any(|other| other.masks.has_ip(ip))
        {
            return has_family(allocation, ip);
        }
        Err(ErrorCode::FORBIDDEN)
    }

    /// As [`Self::check_peer`], for the one transport address that a channel is bound to.
    pub(super) fn check_exact_peer(
        &self,
        now: Timestamp,
        id: AllocationId,
        peer: SocketAddr,
    ) -> Result<(), ErrorCode> {
        let allocation = self.living(id)?;
        let bound = allocation.channel_to(peer);
        if bound.is_some_and(|channel| now < channel.expires_at) {
            return Ok(());
        }
        let known = self
            .neighbours(allocation)
            .any(|other| other.masks.iter().any(|address| address == peer));
        if known {
            has_family(allocation, peer.ip())
        } else {
            Err(ErrorCode::FORBIDDEN)
        }
    }

    /// Whether a permission for `ip` would be one more.
    pub(super) fn needs_place(&self, id: AllocationId, ip: IpAddr) -> bool {
        self.allocations.get(&id).is_none_or(|allocation| {
            allocation
                .permissions
                .iter()
                .all(|permission| permission.ip != ip)
        })
    }

    pub(super) fn check_room(&self, id: AllocationId, more: usize) -> Result<(), ErrorCode> {
        let used = self
            .allocations
            .get(&id)
            .map_or(0, |allocation| allocation.permissions.len());
        if used + more > self.config.limits.permissions {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        Ok(())
    }
}

/// 443 for a peer of a family that the allocation has no mask address of.
fn has_family(allocation: &Allocation, ip: IpAddr) -> Result<(), ErrorCode> {
    match allocation.masks.of(Family::of(ip)) {
        Some(_) => Ok(()),
        None => Err(ErrorCode::FAMILY_MISMATCH),
    }
}
