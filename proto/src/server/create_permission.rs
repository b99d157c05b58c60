//! CreatePermission (RFC 8656 section 10).
//!
//! A permission is had for any address of the pools, whoever holds it or nobody: an answer that
//! depended on that would tell when another party's device wakes up. What flows is decided per
//! pair when a packet comes.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::answer::Success;
use super::{ErrorCode, Relay};
use crate::address::{Client, Family};
use crate::allocation::{Allocation, PERMISSION_LIFETIME};
use crate::auth::login::Login;
use crate::id::AllocationId;
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
        let allocation = self.living(id)?;
        let mut ips = Vec::new();
        for peer in message.xor_peer_addresses() {
            let ip = peer?.ip();
            self.check_reachable(allocation, ip)?;
            ips.push(ip);
        }
        ips.sort_unstable();
        ips.dedup();
        if ips.is_empty() {
            return Err(ErrorCode::BAD_REQUEST);
        }
        self.check_room(id, &ips)?;
        if let Some(allocation) = self.allocations.get_mut(&id) {
            for ip in &ips {
                allocation.permit(*ip, now + PERMISSION_LIFETIME);
            }
        }
        self.watch(id);
        self.sync_circuits_to(now, id, &ips);
        Ok(Success::default())
    }

    pub(super) fn check_peer(&self, id: AllocationId, ip: IpAddr) -> Result<(), ErrorCode> {
        self.check_reachable(self.living(id)?, ip)
    }

    /// 403 for what is no mask address at all, 443 for a family that the allocation has no mask
    /// address of.
    fn check_reachable(&self, allocation: &Allocation, ip: IpAddr) -> Result<(), ErrorCode> {
        if !self.masks.contains(ip) {
            return Err(ErrorCode::FORBIDDEN);
        }
        match allocation.masks.of(Family::of(ip)) {
            Some(_) => Ok(()),
            None => Err(ErrorCode::FAMILY_MISMATCH),
        }
    }

    /// Whether there is room for permissions to all of `ips`, which are different ones.
    pub(super) fn check_room(&self, id: AllocationId, ips: &[IpAddr]) -> Result<(), ErrorCode> {
        let most = self.config.limits.permissions;
        if ips.len() > most {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        let allocation = self.living(id)?;
        let fresh = ips
            .iter()
            .filter(|ip| allocation.permission(**ip).is_err())
            .count();
        // What is held may be renewed though the limit was lowered meanwhile.
        if fresh > 0 && allocation.permissions.len() + fresh > most {
            return Err(ErrorCode::INSUFFICIENT_CAPACITY);
        }
        Ok(())
    }
}
