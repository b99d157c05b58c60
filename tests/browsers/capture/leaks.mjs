// Looks for addresses in a capture: in IP headers, and in all payload as raw bytes (either byte
// order), XORed with the STUN cookie (IPv6: cookie and transaction id), and as text.
//
// Four raw bytes turn up in encrypted or random bytes by chance, once in 2^32 positions. In clear
// bytes one hit is a leak. In sealed bytes three hits of one pattern in one capture are: a capture of
// 5 MB has 1 in 10^9 odds of that, and what leaks an address there does it in every packet.
// Everything longer than four bytes is a leak wherever it is found.
import { isIPv4 } from 'node:net';
import { compress, ipBytes } from './pcap.mjs';
import { COOKIE } from './turn.mjs';

const CHANCE_HITS = 2;

/**
 * Every trace of `addresses` in `capture`: `{ how, address, count, at }`, where `how` is `header` or
 * a notation, and `at` the time of the first.
 */
export function findLeaks(capture, addresses) {
  const found = new Map();
  const add = (how, address, at, count = 1) => {
    const key = `${how} ${address}`;
    const leak = found.get(key) ?? { how, address, count: 0, at };
    leak.count += count;
    found.set(key, leak);
  };
  for (const address of addresses) {
    if (capture.headers.has(address)) add('header', address, 0, capture.headers.get(address));
    for (const hit of search(capture.pieces, address)) add(hit.how, address, hit.at);
  }
  return [...found.values()].filter((leak) => !leak.how.startsWith('sealed') || leak.count > CHANCE_HITS);
}

function* search(pieces, address) {
  const patterns = notations(address);
  const ip = ipBytes(address);
  for (const { heap, bytes, at, transaction } of pieces) {
    for (const { how, pattern, short } of patterns) {
      if (bytes.includes(pattern)) yield { how: short && heap === 'sealed' ? `sealed ${how}` : how, at };
    }
    if (ip.length === 16 && transaction) {
      const mask = Buffer.concat([COOKIE, transaction]);
      if (bytes.includes(xor(ip, mask).subarray(0, 8))) yield { how: 'xor', at };
    }
  }
}

/** The ways in which an address is written down. */
export function notations(address) {
  return isIPv4(address) ? notations4(address) : notations6(address);
}

function notations4(address) {
  const raw = ipBytes(address);
  const hex = raw.toString('hex');
  const short = [['raw', raw], ['raw reversed', Buffer.from(raw).reverse()], ['xor', xor(raw, COOKIE)]];
  const text = [address, address.replaceAll('.', '-'), hex, hex.toUpperCase(),
    `${hex.slice(0, 4)}:${hex.slice(4)}`, hex.match(/../g).join(':'), String(raw.readUInt32BE(0))];
  return [...short.map(([how, pattern]) => ({ how, pattern, short: true })), ...text.map(asText)];
}

/** IPv6 is looked for by its network, the first 64 bits, too: hosts make up the rest. */
function notations6(address) {
  const raw = ipBytes(address);
  const groups = Array.from({ length: 8 }, (_, i) => raw.readUInt16BE(i * 2));
  const start = groups.slice(0, 4).map((group) => group.toString(16)).join(':');
  const text = [compress(groups), `${start}:`, raw.toString('hex').slice(0, 16), raw.toString('hex').toUpperCase().slice(0, 16)];
  return [{ how: 'raw', pattern: raw.subarray(0, 8), short: false }, ...text.map(asText)];
}

const asText = (text) => ({ how: 'text', pattern: Buffer.from(text, 'latin1'), short: false });

const xor = (bytes, mask) => Buffer.from(bytes.map((byte, i) => byte ^ mask[i]));
