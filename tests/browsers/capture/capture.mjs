// A capture, read once: which addresses its packets carried in their headers, what was said to and
// by the relay, and every byte of payload, sorted into two heaps for the search:
//   clear   STUN messages, TURN framing, signalling, DNS, ICMP, ARP, anything not recognised
//   sealed  random and encrypted bytes: SRTP, DTLS, transaction ids, message integrity
import { packets } from './pcap.mjs';
import { Streams } from './streams.mjs';
import { frames, isChannelData, isSealed, isStun, readStun } from './turn.mjs';

export class Capture {
  headers = new Map();
  pieces = [];
  toRelay = [];
  fromRelay = [];
  gaps = 0;
  packets = 0;

  /** `relay` is `{ addresses, port }`: there TURN is spoken. */
  constructor(file, relay) {
    this.relay = relay;
    const streams = new Streams();
    for (const packet of packets(file)) {
      this.#header(packet);
      if (packet.transport === 'tcp') streams.add(packet);
      else if (packet.transport === 'udp') this.#walk(packet.payload, packet, this.#turn(packet));
      else this.#keep('clear', packet.payload, packet);
    }
    for (const stream of streams.all()) this.#stream(stream);
  }

  #header(packet) {
    this.packets += 1;
    for (const address of [packet.source, packet.target]) {
      if (address) this.headers.set(address, (this.headers.get(address) ?? 0) + 1);
    }
    if (packet.options.length > 0) this.#keep('clear', packet.options, packet);
  }

  #stream(stream) {
    this.gaps += stream.gaps;
    const said = this.#turn(stream);
    if (!said) return this.#keep('clear', stream.bytes, { at: stream.timeOf(0) });
    for (const { offset, bytes } of frames(stream.bytes)) {
      this.#walk(bytes, { at: stream.timeOf(offset), transport: 'tcp' }, said);
    }
  }

  /** The list a packet to or from the relay belongs to. */
  #turn({ source, sourcePort, target, targetPort }) {
    const { addresses, port } = this.relay;
    if (targetPort === port && addresses.includes(target)) return this.toRelay;
    if (sourcePort === port && addresses.includes(source)) return this.fromRelay;
    return null;
  }

  #walk(bytes, packet, said) {
    const note = (message) => said?.push({ at: packet.at, transport: packet.transport, ...message });
    if (isStun(bytes)) {
      const { clear, random, data, ...message } = readStun(bytes);
      note({ ...message, data });
      this.#keep('clear', clear, packet, message.transaction);
      for (const value of random) this.#keep('sealed', value, packet);
      if (data) this.#walk(data, packet, null);
    } else if (said && isChannelData(bytes)) {
      const end = 4 + bytes.readUInt16BE(2);
      note({ kind: 'channel', data: bytes.subarray(4, end) });
      this.#keep('clear', bytes.subarray(0, 4), packet);
      this.#keep('clear', bytes.subarray(end), packet);
      this.#walk(bytes.subarray(4, end), packet, null);
    } else {
      if (bytes.length > 0) note({ kind: 'unknown', data: null });
      this.#keep(isSealed(bytes) ? 'sealed' : 'clear', bytes, packet);
    }
  }

  #keep(heap, bytes, { at }, transaction = null) {
    if (bytes.length > 0) this.pieces.push({ heap, bytes, at, transaction });
  }
}

/** The payloads that were relayed, out of `toRelay` or `fromRelay`. */
export function relayed(said) {
  return said.filter((message) => message.data !== null).map((message) => message.data.toString('latin1'));
}
