// Takes STUN messages and ChannelData (RFC 8489, RFC 8656) apart, as far as a search needs it: what
// is structure or text, and what is random or encrypted.
export const COOKIE = Buffer.from([0x21, 0x12, 0xa4, 0x42]);
const HEADER = 20;
const DATA = 0x0013;
// Values that are random numbers or digests: MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256, USERHASH,
// FINGERPRINT, ICE-CONTROLLED, ICE-CONTROLLING.
const RANDOM = new Set([0x0008, 0x001c, 0x001e, 0x8028, 0x8029, 0x802a]);
const CLASSES = ['request', 'indication', 'success', 'error'];

export function isStun(bytes) {
  return bytes.length >= HEADER && bytes[0] < 4 && bytes.subarray(4, 8).equals(COOKIE)
    && bytes.readUInt16BE(2) + HEADER <= bytes.length;
}

/** ChannelData is known by its first byte, so only where TURN is spoken. */
export function isChannelData(bytes) {
  return bytes.length >= 4 && bytes[0] >= 0x40 && bytes[0] < 0x80 && bytes.readUInt16BE(2) + 4 <= bytes.length;
}

/** DTLS records and (S)RTP, told apart from the rest by the first byte (RFC 7983). */
export function isSealed(bytes) {
  return bytes.length >= 12 && ((bytes[0] >= 20 && bytes[0] < 64) || (bytes[0] >= 128 && bytes[0] < 192));
}

/**
 * `{ kind, class, method, transaction, clear, random, data }`: `clear` is a copy of the message with
 * zeros for everything random and for the value of DATA, `random` what was there, `data` DATA's value.
 */
export function readStun(bytes) {
  const type = bytes.readUInt16BE(0);
  const clear = Buffer.from(bytes);
  const random = [bytes.subarray(8, HEADER)];
  clear.fill(0, 8, HEADER);
  let data = null;
  for (const { type: attribute, at, length } of attributes(bytes)) {
    const value = bytes.subarray(at, at + length);
    if (attribute === DATA) data = value;
    if (RANDOM.has(attribute)) random.push(value);
    if (attribute === DATA || RANDOM.has(attribute)) clear.fill(0, at, at + length);
  }
  return { kind: 'stun', class: CLASSES[((type >> 7) & 2) | ((type >> 4) & 1)], method: method(type),
    transaction: bytes.subarray(8, HEADER), clear, random, data };
}

const method = (type) => (type & 0x000f) | ((type & 0x00e0) >> 1) | ((type & 0x3e00) >> 2);

function* attributes(bytes) {
  for (let at = HEADER; at + 4 <= bytes.length;) {
    const length = Math.min(bytes.readUInt16BE(at + 2), bytes.length - at - 4);
    yield { type: bytes.readUInt16BE(at), at: at + 4, length };
    at += 4 + length + ((4 - (length % 4)) % 4);
  }
}

/** Cuts a TURN-over-TCP stream into `{ offset, bytes }`; what is no TURN is one last piece. */
export function* frames(stream) {
  let offset = 0;
  while (offset < stream.length) {
    const rest = stream.subarray(offset);
    const size = frameSize(rest);
    yield { offset, bytes: rest.subarray(0, size) };
    offset += size;
  }
}

function frameSize(rest) {
  if (isStun(rest)) return HEADER + rest.readUInt16BE(2);
  if (isChannelData(rest)) return Math.min(rest.length, 4 + Math.ceil(rest.readUInt16BE(2) / 4) * 4);
  return rest.length;
}
