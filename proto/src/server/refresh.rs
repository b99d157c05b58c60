//! Refresh (RFC 8656 section 8).

use alloc::vec::Vec;
use core::time::Duration;

use super::answer::Success;
use super::roaming::Roaming;
use super::{ErrorCode, Relay};
use crate::address::{Client, Family};
use crate::auth::login::Login;
use crate::contract::EndReason;
use crate::id::AllocationId;
use crate::stun::{AttributeType, Message};
use crate::time::Timestamp;

impl Relay {
    pub(super) fn refresh(
        &mut self,
        now: Timestamp,
        from: &Client,
        message: &Message<'_>,
        login: &Login,
    ) -> Result<Success, ErrorCode> {
        let (id, roaming) = match message.find(AttributeType::MOBILITY_TICKET) {
            Some(ticket) => self.roaming(from, ticket, message, login)?,
            None => (self.allocation_of(from, login)?, Roaming::No),
        };
        let family = message.requested_address_family()?;
        self.check_family(id, family)?;
        let wanted = message
            .lifetime()?
            .map(|secs| Duration::from_secs(u64::from(secs)));
        if roaming == Roaming::Yes {
            self.roam(id, from, message.transaction_id());
        }
        if wanted == Some(Duration::ZERO) {
            self.delete(now, id, family);
            return Ok(Success {
                lifetime: wanted,
                ..Success::default()
            });
        }
        self.hand_over(now, id, &login.ticket);
        let allocation = self.living(id)?;
        let lifetime = self.lifetime(now, wanted, allocation.ticket_ends_at);
        if let Some(allocation) = self.allocations.get_mut(&id) {
            allocation.expires_at = now + lifetime;
        }
        self.watch(id);
        let mobility = if message.has(AttributeType::MOBILITY_TICKET) {
            self.mobility_ticket(id, self.living(id)?)
        } else {
            None
        };
        Ok(Success {
            lifetime: Some(lifetime),
            mobility,
            ..Success::default()
        })
    }

    fn check_family(&self, id: AllocationId, family: Option<Family>) -> Result<(), ErrorCode> {
        let matches = |family| {
            self.allocations
                .get(&id)
                .is_some_and(|allocation| allocation.masks.of(family).is_some())
        };
        match family {
            Some(family) if !matches(family) => Err(ErrorCode::FAMILY_MISMATCH),
            _ => Ok(()),
        }
    }

    /// Deletes the allocation, or only its mask address of `family` where it has another.
    fn delete(&mut self, now: Timestamp, id: AllocationId, family: Option<Family>) {
        let only_one = |family: Family| {
            self.allocations.get(&id).is_none_or(|allocation| {
                let other = match family {
                    Family::V4 => Family::V6,
                    Family::V6 => Family::V4,
                };
                allocation.masks.of(other).is_none()
            })
        };
        match family {
            Some(family) if !only_one(family) => self.drop_mask(now, id, family),
            _ => self.end(id, EndReason::Deleted),
        }
    }

    fn drop_mask(&mut self, now: Timestamp, id: AllocationId, family: Family) {
        let Some(allocation) = self.allocations.get_mut(&id) else {
            return;
        };
        let Some(dropped) = allocation.masks.of(family) else {
            return;
        };
        allocation.masks.set(family, None);
        let allocation = allocation.clone();
        self.release(id, &allocation, dropped);
        let ips: Vec<_> = allocation.consented().collect();
        self.sync_circuits_to(now, id, &ips);
    }
}
