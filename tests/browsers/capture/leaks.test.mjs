// Plants addresses in captures in every way the checker claims to find, and in some it must ignore.
//   node --test tests/browsers/capture/
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Capture } from './capture.mjs';
import { findLeaks } from './leaks.mjs';
import { ipBytes } from './pcap.mjs';
import { COOKIE } from './turn.mjs';

const [OWN, RELAY, OTHER] = ['10.213.61.23', '203.0.113.10', '198.51.100.201'];
const [OWN6, OTHER6] = ['fd00::1', '2001:db8:b7e5:c9::2'];
const TRANSACTION = Buffer.from('0102030405060708090a0b0c', 'hex');
const raw = ipBytes(OTHER);
const xored = Buffer.from(raw.map((byte, i) => byte ^ COOKIE[i]));

// How packets are made.
const u16 = (...numbers) => Buffer.from(numbers.flatMap((n) => [n >> 8, n & 0xff]));
const u32 = (number) => u16(number >>> 16, number & 0xffff);
const all = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));
const udpBody = (from, to, payload) => all(u16(from, to, 8 + payload.length, 0), payload);
const ip4 = (protocol, body, { source = OWN, target = RELAY, word = 0 } = {}) => ({ ethertype: 0x0800,
  bytes: all([0x45, 0], u16(20 + body.length, 7, word), [64, protocol], u16(0), ipBytes(source), ipBytes(target), body) });
const udp = (payload, { from = 5000, to = 3478, ...ends } = {}) => ip4(17, udpBody(from, to, payload), ends);
const tcp = (seq, payload, { syn = false, to = 3478 } = {}) =>
  ip4(6, all(u16(5000, to), u32(seq), u32(0), [0x50, syn ? 2 : 16], u16(0, 0, 0), payload));
const udp6 = (payload, target = 'fd00::2') => ({ ethertype: 0x86dd,
  bytes: all([0x60, 0, 0, 0], u16(8 + payload.length), [17, 64], ipBytes(OWN6), ipBytes(target), udpBody(5000, 3478, payload)) });
const attribute = (type, value) => all(u16(type, value.length), value, Buffer.alloc((4 - (value.length % 4)) % 4));
const stun = (attributes, { type = 0x0008, transaction = TRANSACTION } = {}) =>
  all(u16(type, attributes.length), COOKIE, transaction, attributes);
const channelData = (payload) => all(u16(0x4001, payload.length), payload);
const rtp = (inside) => all([0x80, 111], u16(1), u32(1), u32(2), inside, Buffer.alloc(20));
const peer = (address) => attribute(0x0012, all([0, 1], u16(0x1234), address));

/** A record of `frame`; the capture kept `kept` bytes of it. */
function record(frame, kept = frame.length) {
  const header = Buffer.alloc(16);
  [1000, 0, kept, frame.length].forEach((value, at) => header.writeUInt32LE(value, at * 4));
  return all(header, frame.subarray(0, kept));
}

const cooked = ({ ethertype, bytes }) => all(u16(ethertype), Buffer.alloc(6), u16(1), [0, 6], Buffer.alloc(8), bytes);
const capture = (frames) => read(frames.map((frame) => record(cooked(frame))));

function read(records) {
  const directory = mkdtempSync(join(tmpdir(), 'leaks-'));
  const file = join(directory, 'x.pcap');
  const start = Buffer.alloc(24);
  start.writeUInt32LE(0xa1b2c3d4, 0);
  start.writeUInt32LE(276, 20);
  writeFileSync(file, all(start, ...records));
  try {
    return new Capture(file, { addresses: [RELAY, 'fd00::2'], port: 3478 });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const found = (frames, address = OTHER) => findLeaks(capture(frames), [address]).map((leak) => leak.how);

const PLANTED = {
  'the target of a packet': [[udp(rtp([]), { target: OTHER })], ['header']],
  'the source of a packet': [[udp(rtp([]), { source: OTHER })], ['header']],
  'the packet inside an ICMP error': [[ip4(1, all(u32(0x03010000), u32(0), ip4(17, [], { target: OTHER }).bytes))], ['raw']],
  'an ARP request': [[{ ethertype: 0x0806, bytes: all(u16(1, 0x0800), [6, 4, 0, 1], Buffer.alloc(16), raw) }], ['raw']],
  'MAPPED-ADDRESS': [[udp(stun(attribute(0x0001, all([0, 1], u16(9), raw))))], ['raw']],
  'bytes in the other order': [[udp(stun(attribute(0x8022, Buffer.from(raw).reverse())))], ['raw reversed']],
  'XOR-PEER-ADDRESS': [[udp(stun(peer(xored)))], ['xor']],
  'an ICE check in ChannelData': [[udp(channelData(stun(peer(xored))))], ['xor']],
  'an ICE check in a Send indication': [[udp(stun(attribute(0x0013, stun(peer(xored))), { type: 0x0016 }))], ['xor']],
  'STUN between clients': [[udp(stun(peer(xored)), { to: 9 })], ['xor']],
  'the padding of ChannelData': [[udp(all(channelData([1]), raw))], ['raw']],
  'TURN over TCP, cut and out of order': [() => {
    const bytes = all(channelData(rtp([1, 2])), Buffer.alloc(2), stun(peer(xored)));
    return [tcp(99, [], { syn: true }), tcp(140, bytes.subarray(40)), tcp(100, bytes.subarray(0, 40)), tcp(100, bytes.subarray(0, 40))];
  }, ['xor']],
  'signalling, cut in the middle of the text': [[tcp(99, [], { syn: true, to: 80 }),
    tcp(100, 'candidate 198.51.', { to: 80 }), tcp(117, '100.201 9', { to: 80 })], ['text']],
  'hexadecimal text': [[udp('peer=C63364C9', { to: 53 })], ['text']],
  'text inside what looks like SRTP': [[udp(channelData(rtp('198-51-100-201')))], ['text']],
  'SRTP, again and again': [Array(3).fill(udp(channelData(rtp(raw)))), ['sealed raw']],
  'a datagram in fragments': [() => {
    const body = udpBody(5000, 3478, stun(peer(xored)));
    return [ip4(17, body.subarray(0, 32), { word: 0x2000 }), ip4(17, body.subarray(32), { word: 4 })];
  }, ['xor']],
};

for (const [where, [frames, how]] of Object.entries(PLANTED)) {
  test(`found: ${where}`, () => assert.deepEqual(found(typeof frames === 'function' ? frames() : frames), how));
}

test('found: IPv6 in a header, in STUN and as text', () => {
  const address = ipBytes(OTHER6);
  const mask = all(COOKIE, TRANSACTION);
  const value = all([0, 2], u16(9), Buffer.from(address.map((byte, i) => byte ^ mask[i])));
  assert.deepEqual(found([udp6(rtp([]), OTHER6)], OTHER6), ['header']);
  assert.deepEqual(found([udp6(stun(attribute(0x0012, value)))], OTHER6), ['xor']);
  assert.deepEqual(found([udp6(channelData(rtp(address)))], OTHER6), ['raw']);
  assert.deepEqual(found([udp(`c=IN IP6 ${OTHER6}`, { to: 53 })], OTHER6), ['text']);
});

test('ignored: chance hits in random and encrypted bytes', () => {
  const random = all(raw, TRANSACTION.subarray(4));
  assert.deepEqual(found([udp(stun(Buffer.alloc(0), { transaction: random }))]), []);
  assert.deepEqual(found([udp(stun(attribute(0x0008, all(xored, Buffer.alloc(16)))))]), []);
  assert.deepEqual(found([udp(channelData(rtp(raw))), udp(channelData(rtp(raw)))]), []);
});

test('a hole in a TCP stream is noticed', () => {
  assert.equal(capture([tcp(99, [], { syn: true }), tcp(100, 'ab'), tcp(105, 'cd')]).gaps, 1);
});

test('a packet that was cut short is an error', () => {
  assert.throws(() => read([record(cooked(udp(rtp([]))), 30)]), /cut short/);
});
