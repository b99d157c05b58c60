// One call between two stacks: their processes in the clients' namespaces, captured from the first
// packet to the last, the signalling between them carried by hand.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SIDES } from '../browsers/call.mjs';
import { Process, until } from '../browsers/processes.mjs';
import { Tap } from '../browsers/tap.mjs';

const HERE = new URL('.', import.meta.url).pathname;
const PYTHON = process.env.STACKS_PYTHON;
const STACKS = {
  aioice: [PYTHON, `${HERE}peers/aioice_peer.py`],
  aiortc: [PYTHON, `${HERE}peers/aiortc_peer.py`],
  werift: [process.execPath, `${HERE}peers/werift.mjs`],
  libdatachannel: [process.execPath, `${HERE}peers/datachannel.mjs`],
};
const TALK_WITHIN = 30_000;
const DESCRIBE_WITHIN = 5000;
/** How long the relay is watched after the end, of which it has the first second for itself. */
const WATCH_END = 1600;
/** A peer says how it is every quarter of a second; one that is silent for so long has stopped. */
const SILENCE = 5000;

export class Call {
  samples = {};
  descriptions = {};
  offered = {};
  errors = [];
  notes = [];
  #peers = {};
  #taps = {};
  #began = Date.now();

  /** `stacks`, `configurations` and `options` are `{ a, b }`; a calls b. Without `capture` no packets are kept. */
  constructor(network, directory, { stacks, configurations, options, capture = true }) {
    mkdirSync(directory, { recursive: true });
    Object.assign(this, { network, directory, stacks, configurations, options, captured: capture });
  }

  capture(side) {
    return join(this.directory, `${side}.pcap`);
  }

  async open() {
    await Promise.all(SIDES.map((side) => this.#openSide(side)));
    for (const side of SIDES) {
      this.#peers[side].tell({ order: 'start', caller: side === 'a', configuration: this.configurations[side], ...this.options[side] });
    }
  }

  /** Waits until both sides have received `enough[flow]` packets of each of their flows. */
  async talk(flows, enough) {
    const talks = (side) => flows[side].every((flow) => (this.samples[side]?.flows[flow]?.received ?? 0) >= enough[flow]);
    await until('both sides talk', TALK_WITHIN, () => this.#healthy() && SIDES.every(talks));
    this.talked = Date.now() - this.#began;
  }

  /** Looks at the call for `duration` milliseconds; `look` may throw. */
  async hold(duration, look) {
    const end = Date.now() + duration;
    while (Date.now() < end) {
      await delay(Math.min(1000, Math.max(0, end - Date.now())));
      this.#healthy();
      look();
    }
  }

  async describe() {
    for (const side of SIDES) this.#peers[side].tell({ order: 'describe' });
    await until('both sides describe the call', DESCRIBE_WITHIN, () => this.#healthy() && SIDES.every((side) => this.descriptions[side]));
  }

  /** Ends the call by `end` and watches what still arrives. */
  async end(end) {
    await end();
    this.ended = Date.now();
    await delay(WATCH_END);
  }

  async close() {
    await Promise.all(Object.values(this.#peers).map((peer) => peer.stop('SIGTERM', 1000)));
    const taps = Object.values(this.#taps);
    await Promise.all(taps.map((tap) => tap.stop()));
    this.uncaptured = taps.filter((tap) => !tap.whole()).length;
  }

  logs() {
    return [...Object.values(this.#peers), ...Object.values(this.#taps)].map((one) => one.log);
  }

  async #openSide(side) {
    const role = `client${side}`;
    if (this.captured) {
      this.#taps[side] = new Tap(this.network, role, this.capture(side));
      await this.#taps[side].start();
    }
    const log = join(this.directory, `${side}-${this.stacks[side]}.log`);
    const onMessage = (message) => this.#hear(side, message);
    this.#peers[side] = new Process(this.network.inside(role, STACKS[this.stacks[side]]), { log, onMessage });
  }

  #hear(side, { kind, ...message }) {
    if (kind === 'signal') this.#signal(side, message);
    else if (kind === 'sample') this.samples[side] = { at: Date.now(), ...message };
    else if (kind === 'description') this.descriptions[side] = message.shown;
    else if (kind === 'error') this.errors.push(`${side}: ${message.text}`);
    else this.notes.push(`${side} +${Date.now() - this.#began} ms: ${message.text}`);
  }

  #signal(side, message) {
    this.offered[side] = message;
    this.#peers[side === 'a' ? 'b' : 'a'].tell({ order: 'signal', ...message });
  }

  #healthy() {
    if (this.errors.length > 0) throw new Error(this.errors.join('\n'));
    for (const side of SIDES) {
      if (!this.#peers[side].alive()) throw new Error(`ended too early: ${this.#peers[side].log}`);
      if (Date.now() - (this.samples[side]?.at ?? Date.now()) > SILENCE) throw new Error(`${side} has stopped`);
    }
    return true;
  }
}
