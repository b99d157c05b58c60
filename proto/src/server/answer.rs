//! Answers to authenticated requests: signed as the request was.

use core::net::SocketAddr;
use core::time::Duration;

use super::ErrorCode;
use crate::address::Family;
use crate::auth::login::Login;
use crate::auth::mobility;
use crate::contract::Verdict;
use crate::stun::{AttributeType, Class, Message, Writer};
use crate::usage::DropReason;

/// What a success answer carries besides its signature.
#[derive(Default)]
pub(super) struct Success {
    pub(super) relayed: [Option<SocketAddr>; 2],
    pub(super) mapped: Option<SocketAddr>,
    pub(super) lifetime: Option<Duration>,
    /// The additional family that could not be served (ADDRESS-ERROR-CODE).
    pub(super) refused_family: Option<Family>,
    /// MOBILITY-TICKET.
    pub(super) mobility: Option<[u8; mobility::LEN]>,
}

/// The answer to one request.
pub(super) struct Answer<'a> {
    request: &'a Message<'a>,
    login: &'a Login,
}

impl<'a> Answer<'a> {
    pub(super) fn new(request: &'a Message<'a>, login: &'a Login) -> Self {
        Self { request, login }
    }

    pub(super) fn has_unknown_attributes(&self) -> bool {
        self.request.unknown_required().next().is_some()
    }

    /// 420 with up to sixteen of the attributes that were not understood.
    pub(super) fn unknown_attributes(&self, out: &mut [u8]) -> Verdict {
        let mut writer = self.writer(Class::Error, out);
        writer.error_code(420);
        writer.unknown_attributes(self.request.unknown_required(), 16);
        self.sign(writer)
    }

    pub(super) fn error(&self, code: ErrorCode, out: &mut [u8]) -> Verdict {
        let mut writer = self.writer(Class::Error, out);
        writer.error_code(code.0);
        self.sign(writer)
    }

    pub(super) fn success(&self, success: &Success, out: &mut [u8]) -> Verdict {
        let mut writer = self.writer(Class::Success, out);
        for address in success.relayed.iter().flatten() {
            writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, *address);
        }
        if let Some(lifetime) = success.lifetime {
            let secs = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
            writer.u32(AttributeType::LIFETIME, secs);
        }
        if let Some(address) = success.mapped {
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, address);
        }
        if let Some(family) = success.refused_family {
            writer.bytes(AttributeType::ADDRESS_ERROR_CODE, &address_error(family));
        }
        if let Some(ticket) = success.mobility {
            writer.bytes(AttributeType::MOBILITY_TICKET, &ticket);
        }
        self.sign(writer)
    }

    fn writer<'b>(&self, class: Class, out: &'b mut [u8]) -> Writer<'b> {
        Writer::new(
            out,
            class,
            self.request.method(),
            self.request.transaction_id(),
        )
    }

    fn sign(&self, mut writer: Writer<'_>) -> Verdict {
        writer.integrity(self.login.integrity, self.login.key.as_bytes());
        if self.request.has(AttributeType::FINGERPRINT) {
            writer.fingerprint();
        }
        writer
            .finish()
            .map_or(Verdict::Drop(DropReason::NoRoom), Verdict::Answer)
    }
}

/// ADDRESS-ERROR-CODE (RFC 8656 section 18.12) saying 440 for `family`.
fn address_error(family: Family) -> [u8; 4] {
    let number = match family {
        Family::V4 => 1,
        Family::V6 => 2,
    };
    [number, 0, 4, 40]
}
