//! What requests carry besides their authentication.

use vizard_proto::stun::{AttributeType, Writer};

use super::script::Request;

/// Numbers that endpoints bind; the last two are none.
pub const CHANNELS: [u16; 6] = [0x4000, 0x4001, 0x4fff, 0x7fff, 0x3fff, 0x8000];

pub fn put(writer: &mut Writer<'_>, request: &Request) {
    match request {
        Request::Allocate(wishes) => put_wishes(writer, *wishes),
        Request::Refresh(lifetime, family) => {
            if let Some(lifetime) = lifetime {
                writer.u32(AttributeType::LIFETIME, *lifetime);
            }
            if let Some(family) = family {
                writer.u8(AttributeType::REQUESTED_ADDRESS_FAMILY, *family);
            }
        }
        Request::Permit(_) | Request::Roam => {}
        Request::Bind(which, _) => {
            writer.u16(AttributeType::CHANNEL_NUMBER, CHANNELS[usize::from(*which)]);
        }
    }
}

/// Three of eight values ask for nothing special.
fn put_wishes(writer: &mut Writer<'_>, wishes: u8) {
    let transport = if wishes == 254 { 6 } else { 17 };
    writer.u8(AttributeType::REQUESTED_TRANSPORT, transport);
    match wishes & 7 {
        0 | 1 => writer.bytes(AttributeType::MOBILITY_TICKET, &[]),
        3 => writer.u8(AttributeType::REQUESTED_ADDRESS_FAMILY, 2),
        4 | 5 => writer.u8(AttributeType::ADDITIONAL_ADDRESS_FAMILY, 2),
        6 => writer.u32(AttributeType::LIFETIME, u32::from(wishes) * 10),
        7 => put_rare_wish(writer, wishes >> 3),
        _ => {}
    }
}

fn put_rare_wish(writer: &mut Writer<'_>, wish: u8) {
    match wish % 6 {
        0 => writer.u8(AttributeType::REQUESTED_ADDRESS_FAMILY, 9),
        1 => writer.bytes(AttributeType::EVEN_PORT, &[0]),
        2 => writer.bytes(AttributeType::EVEN_PORT, &[0x80]),
        3 => writer.bytes(AttributeType::RESERVATION_TOKEN, &[3; 8]),
        4 => writer.bytes(AttributeType::REQUESTED_ADDRESS_FAMILY, &[1]),
        _ => writer.u8(AttributeType::REQUESTED_ADDRESS_FAMILY, 1),
    }
}
