// Puts the segments of each direction of each TCP connection back in order.
export class Streams {
  #flows = new Map();

  /** Takes a TCP packet as `pcap.mjs` dissects it. */
  add(packet) {
    const key = `${packet.source} ${packet.sourcePort} ${packet.target} ${packet.targetPort}`;
    let flow = this.#flows.get(key)?.at(-1);
    if (packet.syn && flow?.first !== packet.seq) flow = this.#open(key, packet);
    // Segments of a connection whose beginning was not seen.
    flow ??= this.#open(key, { ...packet, seq: packet.seq - 1 });
    if (packet.payload.length > 0) flow.segments.push({ at: packet.at, offset: (packet.seq - flow.first - 1) >>> 0, bytes: packet.payload });
  }

  /** Yields each direction as `{ source, ..., bytes, gaps, timeOf(offset) }`. */
  *all() {
    for (const flow of [...this.#flows.values()].flat()) yield { ...flow, ...assemble(flow.segments) };
  }

  #open(key, { source, target, sourcePort, targetPort, seq }) {
    const flow = { source, target, sourcePort, targetPort, first: seq, segments: [] };
    this.#flows.set(key, [...(this.#flows.get(key) ?? []), flow]);
    return flow;
  }
}

function assemble(segments) {
  const parts = [];
  let [end, gaps] = [0, 0];
  for (const segment of [...segments].sort((a, b) => a.offset - b.offset)) {
    if (segment.offset > end) gaps += 1;
    const fresh = segment.bytes.subarray(Math.max(0, end - segment.offset));
    if (fresh.length === 0) continue;
    end = segment.offset + segment.bytes.length;
    parts.push({ at: segment.at, bytes: fresh });
  }
  const bytes = Buffer.concat(parts.map((part) => part.bytes));
  return { bytes, gaps, timeOf: (offset) => timeOf(parts, offset) };
}

function timeOf(parts, offset) {
  for (const part of parts) {
    if (offset < part.bytes.length) return part.at;
    offset -= part.bytes.length;
  }
  return parts.at(-1)?.at ?? 0;
}
