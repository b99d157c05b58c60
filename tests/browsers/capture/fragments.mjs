// Puts IP fragments together again (Firefox's DTLS hello inside TURN over IPv6 is larger than a frame).
export class Fragments {
  #waiting = new Map();

  /** Takes one fragment; gives the whole datagram's payload once it is complete, else null. */
  add({ key, offset, more, payload }) {
    const parts = this.#waiting.get(key) ?? [];
    parts.push({ offset, more, payload });
    this.#waiting.set(key, parts);
    const whole = join(parts);
    if (whole) this.#waiting.delete(key);
    return whole;
  }

  /** What never became complete. */
  rest() {
    return [...this.#waiting.values()].flat().map((part) => part.payload);
  }
}

function join(parts) {
  const bytes = [];
  let end = 0;
  for (const { offset, more, payload } of parts.sort((a, b) => a.offset - b.offset)) {
    if (offset !== end) return null;
    bytes.push(payload);
    end += payload.length;
    if (!more) return Buffer.concat(bytes);
  }
  return null;
}
