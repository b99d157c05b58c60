// One call between two browsers, from the first packet captured to the last.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { browserCommand } from './browsers.mjs';
import { Side } from './hub.mjs';
import { Process, opened, until } from './processes.mjs';
import { Tap } from './tap.mjs';

const PAGE_PORT = 8000;
const READY_WITHIN = 40_000;
const TALK_WITHIN = 30_000;
const RETURN_WITHIN = 15_000;
/** How long a call is watched while both talk, and after its end. */
const WATCH = 1500;
const WATCH_END = 2500;
export const SIDES = ['a', 'b'];

export class Call {
  samples = { a: [], b: [] };
  descriptions = {};
  returned = {};
  errors = [];
  notes = [];
  #ready = new Set();
  #processes = [];
  #taps = {};
  #sides = {};

  /** `browsers` and `configurations` are `{ a, b }`; a calls b. */
  constructor(network, directory, browsers, configurations) {
    Object.assign(this, { network, directory, browsers, configurations });
  }

  capture(side) {
    return join(this.directory, `${side}.pcap`);
  }

  /** Starts captures and browsers, and waits until both pages are there. */
  async open() {
    await Promise.all(SIDES.map((side) => this.#openSide(side)));
    await this.#wait('both pages are loaded', READY_WITHIN, () => this.#ready.size === 2);
  }

  /** Lets the call begin; returns when both sides hear and see each other. */
  async connect() {
    this.began = Date.now();
    for (const side of SIDES) {
      this.#sides[side].send({ order: 'start', caller: side === 'a', configuration: this.configurations[side] });
    }
    await this.#wait('both sides talk', TALK_WITHIN, () => SIDES.every((side) => talks(this.samples[side].at(-1))));
    this.talked = Date.now();
    await delay(WATCH);
    for (const side of SIDES) this.#sides[side].send({ order: 'describe' });
    await this.#wait('both sides describe the call', 5000, () => SIDES.every((side) => this.descriptions[side]));
  }

  /** Ends the call by `end`, watches what still arrives, and gives what `end` gave. */
  async end(end) {
    this.ended = Date.now();
    const answer = await end();
    await delay(WATCH_END);
    return answer;
  }

  /** Both sides try again with the configuration they had. */
  async comeBack() {
    for (const side of SIDES) this.#sides[side].send({ order: 'comeBack' });
    await this.#wait('both sides tried to come back', RETURN_WITHIN, () => SIDES.every((side) => this.returned[side]));
  }

  async close() {
    await Promise.all(this.#processes.map((one) => one.stop('SIGTERM', 2000)));
    const taps = Object.values(this.#taps);
    await Promise.all(taps.map((tap) => tap.stop()));
    for (const side of Object.values(this.#sides)) side.close();
    this.uncaptured = taps.filter((tap) => !tap.whole()).length;
  }

  logs() {
    return [...this.#processes, ...Object.values(this.#taps)].map((one) => one.log);
  }

  async #openSide(side) {
    const directory = join(this.directory, side);
    mkdirSync(directory, { recursive: true });
    this.#taps[side] = new Tap(this.network, `client${side}`, this.capture(side));
    await this.#taps[side].start();
    const socket = join(directory, 'hub.sock');
    this.#sides[side] = new Side((message) => this.#hear(side, message));
    await this.#sides[side].listen(socket);
    const door = [process.execPath, new URL('door.mjs', import.meta.url).pathname, String(PAGE_PORT), socket];
    await opened(this.#start(side, 'door', door), 'the door to the page');
    const { argv, env } = browserCommand(this.browsers[side], directory, `http://127.0.0.1:${PAGE_PORT}/`);
    this.#start(side, this.browsers[side], argv, env);
  }

  #start(side, name, argv, env = process.env) {
    const log = join(this.directory, `${side}-${name}.log`);
    const started = new Process(this.network.inside(`client${side}`, argv), { log, env });
    this.#processes.push(started);
    return started;
  }

  #hear(side, { kind, ...message }) {
    if (kind === 'signal') this.#sides[side === 'a' ? 'b' : 'a'].send({ order: 'signal', ...message });
    else if (kind === 'sample') this.samples[side].push(message);
    else if (kind === 'description') this.descriptions[side] = message;
    else if (kind === 'returned') this.returned[side] = message;
    else if (kind === 'ready') this.#ready.add(side);
    else if (kind === 'error') this.errors.push(`${side}: ${message.text}`);
    else this.notes.push(`${side} +${Date.now() - (this.began ?? 0)} ms: ${message.text}`);
  }

  async #wait(what, limit, condition) {
    await until(what, limit, () => {
      if (this.errors.length > 0) throw new Error(this.errors.join('\n'));
      const ended = this.#processes.find((one) => !one.alive());
      if (ended) throw new Error(`ended too early: ${ended.log}`);
      return condition();
    });
  }
}

/** Whether a sample shows a call in full swing. */
function talks(sample) {
  return sample?.connection === 'connected' && sample.pair !== null && sample.audio > 0 && sample.video > 0
    && sample.frames >= 5 && sample.echoes >= 3;
}
