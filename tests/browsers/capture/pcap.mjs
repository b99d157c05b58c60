// Reads what `tcpdump -i any -w FILE` wrote: classic pcap, link type "Linux cooked v2", and cuts
// each packet down to IP, UDP and TCP. Anything else is handed on whole, to be searched as it is.
import { readFileSync } from 'node:fs';
import { isIPv4 } from 'node:net';

const LINUX_SLL2 = 276;
const SLL2_HEADER = 20;
const [ETHERTYPE_IPV4, ETHERTYPE_IPV6] = [0x0800, 0x86dd];
const [TCP, UDP] = [6, 17];
const [ARPHRD_LOOPBACK, PACKET_OUTGOING] = [772, 4];
const IPV6_EXTENSIONS = new Set([0, 43, 60]);
const IPV6_FRAGMENT = 44;

/** Yields every packet of the file as `dissect` sees it, with `at` in milliseconds since 1970. */
export function* packets(file) {
  const bytes = readFileSync(file);
  const magic = bytes.readUInt32LE(0);
  if (magic !== 0xa1b2c3d4 || bytes.readUInt32LE(20) !== LINUX_SLL2) throw new Error(`${file}: not a pcap of "any"`);
  for (let at = 24; at + 16 <= bytes.length;) {
    const length = bytes.readUInt32LE(at + 8);
    if (bytes.readUInt32LE(at + 12) !== length) throw new Error(`${file}: a packet was cut short`);
    const time = bytes.readUInt32LE(at) * 1000 + bytes.readUInt32LE(at + 4) / 1000;
    const frame = bytes.subarray(at + 16, at + 16 + length);
    at += 16 + length;
    // On the loopback interface every packet is seen twice, going out and coming in.
    if (frame.readUInt16BE(8) === ARPHRD_LOOPBACK && frame[10] === PACKET_OUTGOING) continue;
    yield { at: time, ...dissect(frame.readUInt16BE(0), frame.subarray(SLL2_HEADER)) };
  }
}

/**
 * `{ transport: 'udp', source, target, sourcePort, targetPort, payload }`, for TCP with `seq`,
 * `syn`; other protocols and fragments have `transport: 'other'` and the bytes behind the IP header.
 * `options` holds what an IP header carries besides the two addresses.
 */
export function dissect(ethertype, bytes) {
  if (ethertype === ETHERTYPE_IPV4 && bytes.length >= 20) return ipv4(bytes);
  if (ethertype === ETHERTYPE_IPV6 && bytes.length >= 40) return ipv6(bytes);
  return { transport: 'other', payload: bytes, options: Buffer.alloc(0) };
}

function ipv4(bytes) {
  const header = (bytes[0] & 0x0f) * 4;
  const fragment = (bytes.readUInt16BE(6) & 0x3fff) !== 0;
  const ip = { source: ipText(bytes.subarray(12, 16)), target: ipText(bytes.subarray(16, 20)), options: bytes.subarray(20, header) };
  const body = bytes.subarray(header, bytes.readUInt16BE(2));
  return { ...ip, ...(fragment ? other(body) : transport(bytes[9], body)) };
}

function ipv6(bytes) {
  let [next, at] = [bytes[6], 40];
  while (IPV6_EXTENSIONS.has(next)) {
    next = bytes[at];
    at += (bytes[at + 1] + 1) * 8;
  }
  const ip = { source: ipText(bytes.subarray(8, 24)), target: ipText(bytes.subarray(24, 40)), options: bytes.subarray(40, at) };
  const body = bytes.subarray(at, 40 + bytes.readUInt16BE(4));
  return { ...ip, ...(next === IPV6_FRAGMENT ? other(body) : transport(next, body)) };
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
