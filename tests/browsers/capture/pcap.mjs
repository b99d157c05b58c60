// Reads what `tcpdump -i any -w FILE` wrote: classic pcap, link type "Linux cooked v2", and cuts
// each packet down to IP, UDP and TCP. Anything else is handed on whole, to be searched as it is.
import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import { Fragments } from './fragments.mjs';

const MAGIC = 0xa1b2c3d4;
const LINUX_SLL2 = 276;
const SLL2_HEADER = 20;
const [ETHERTYPE_IPV4, ETHERTYPE_IPV6] = [0x0800, 0x86dd];
const [TCP, UDP] = [6, 17];
const IPV6_EXTENSIONS = new Set([0, 43, 60]);
const IPV6_FRAGMENT = 44;
const NOTHING = Buffer.alloc(0);

/** Yields every packet of the file as `dissect` sees it, whole, with `at` in milliseconds since 1970. */
export function* packets(file) {
  const fragments = new Fragments();
  let last = 0;
  for (const { at, ethertype, bytes } of frames(file)) {
    last = at;
    const { fragment, ...packet } = dissect(ethertype, bytes);
    const whole = fragment ? fragments.add(fragment) : null;
    if (whole) yield { at, ...packet, ...transport(fragment.protocol, whole) };
    else if (!fragment) yield { at, ...packet };
  }
  for (const payload of fragments.rest()) yield { at: last, ...other(payload), options: NOTHING };
}

function* frames(file) {
  const bytes = readFileSync(file);
  if (bytes.readUInt32LE(0) !== MAGIC || bytes.readUInt32LE(20) !== LINUX_SLL2) throw new Error(`${file}: not a pcap of "any"`);
  for (let at = 24; at + 16 <= bytes.length;) {
    const length = bytes.readUInt32LE(at + 8);
    if (bytes.readUInt32LE(at + 12) !== length) throw new Error(`${file}: a packet was cut short`);
    const time = bytes.readUInt32LE(at) * 1000 + bytes.readUInt32LE(at + 4) / 1000;
    const frame = bytes.subarray(at + 16, at + 16 + length);
    at += 16 + length;
    yield { at: time, ethertype: frame.readUInt16BE(0), bytes: frame.subarray(SLL2_HEADER) };
  }
}

/**
 * `{ transport: 'udp', source, target, sourcePort, targetPort, payload }`, for TCP with `seq` and
 * `syn`; other protocols have `transport: 'other'` and the bytes behind the IP header. `options` is
 * what an IP header carries besides the two addresses. Part of a datagram has `fragment` as well.
 */
function dissect(ethertype, bytes) {
  if (ethertype === ETHERTYPE_IPV4 && bytes.length >= 20) return ipv4(bytes);
  if (ethertype === ETHERTYPE_IPV6 && bytes.length >= 40) return ipv6(bytes);
  return { ...other(bytes), options: NOTHING };
}

function ipv4(bytes) {
  const header = (bytes[0] & 0x0f) * 4;
  const ip = { source: ipText(bytes.subarray(12, 16)), target: ipText(bytes.subarray(16, 20)), options: bytes.subarray(20, header) };
  const body = bytes.subarray(header, bytes.readUInt16BE(2));
  const [word, protocol] = [bytes.readUInt16BE(6), bytes[9]];
  if ((word & 0x3fff) === 0) return { ...ip, ...transport(protocol, body) };
  const key = `${ip.source} ${ip.target} ${protocol} ${bytes.readUInt16BE(4)}`;
  return { ...ip, ...other(body), fragment: { key, protocol, offset: (word & 0x1fff) * 8, more: (word & 0x2000) !== 0, payload: body } };
}

function ipv6(bytes) {
  let [next, at] = [bytes[6], 40];
  while (IPV6_EXTENSIONS.has(next)) {
    next = bytes[at];
    at += (bytes[at + 1] + 1) * 8;
  }
  const ip = { source: ipText(bytes.subarray(8, 24)), target: ipText(bytes.subarray(24, 40)), options: bytes.subarray(40, at) };
  const body = bytes.subarray(at, 40 + bytes.readUInt16BE(4));
  if (next !== IPV6_FRAGMENT) return { ...ip, ...transport(next, body) };
  const [protocol, word, payload] = [body[0], body.readUInt16BE(2), body.subarray(8)];
  const key = `${ip.source} ${ip.target} ${protocol} ${body.readUInt32BE(4)}`;
  return { ...ip, ...other(payload), fragment: { key, protocol, offset: word & 0xfff8, more: (word & 1) !== 0, payload } };
}

const other = (payload) => ({ transport: 'other', payload });

function transport(protocol, bytes) {
  if (protocol === UDP && bytes.length >= 8) {
    return { transport: 'udp', ...ports(bytes), payload: bytes.subarray(8, bytes.readUInt16BE(4)) };
  }
  if (protocol === TCP && bytes.length >= 20) {
    const header = (bytes[12] >> 4) * 4;
    return { transport: 'tcp', ...ports(bytes), seq: bytes.readUInt32BE(4), syn: (bytes[13] & 2) !== 0,
      payload: bytes.subarray(header) };
  }
  return other(bytes);
}

const ports = (bytes) => ({ sourcePort: bytes.readUInt16BE(0), targetPort: bytes.readUInt16BE(2) });

function ipText(bytes) {
  if (bytes.length === 4) return bytes.join('.');
  return compress(Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2)));
}

/** The usual text of an IPv6 address given as eight numbers (RFC 5952, without the dotted tail). */
export function compress(groups) {
  const url = new URL(`http://[${groups.map((group) => group.toString(16)).join(':')}]/`);
  return url.hostname.slice(1, -1);
}

/** The 4 or 16 bytes of an address in text. */
export function ipBytes(text) {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number));
  const [head, tail = ''] = text.split('::');
  const groups = (part) => (part === '' ? [] : part.split(':').map((group) => parseInt(group, 16)));
  const [front, back] = [groups(head), groups(tail)];
  const all = [...front, ...Array(8 - front.length - back.length).fill(0), ...back];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}
