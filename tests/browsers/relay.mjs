// The relay under test, in its namespace, and its control API from outside through a door.
import http from 'node:http';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RELAY_PORT } from './network.mjs';
import { Process, opened, until } from './processes.mjs';

const CONTROL_PORT = 8080;

const literal = (address) => (address.includes(':') ? `[${address}]` : address);
const configuration = (addresses) => `
[relay]
public_addresses = ${JSON.stringify(addresses)}
udp = ${JSON.stringify(addresses.map((address) => `${literal(address)}:${RELAY_PORT}`))}
tcp = ${JSON.stringify(addresses.map((address) => `${literal(address)}:${RELAY_PORT}`))}

[control]
listen = "127.0.0.1:${CONTROL_PORT}"
`;

export class Relay {
  /** Everything the control API ever answered. */
  answers = [];

  constructor(network, directory, binary) {
    this.network = network;
    this.directory = directory;
    this.binary = binary;
    this.state = join(directory, 'state');
    this.log = join(directory, 'vizard.log');
  }

  /** Starts vizard on these addresses; a second start finds the state of the first. */
  async start(addresses) {
    mkdirSync(this.state, { recursive: true, mode: 0o700 });
    const file = join(this.directory, 'vizard.toml');
    writeFileSync(file, configuration(addresses));
    const env = { PATH: process.env.PATH, VIZARD_STATE_DIR: this.state, HOME: this.directory };
    const argv = [this.binary, 'serve', '--config', file];
    this.process = new Process(this.network.inside('relay', argv), { log: this.log, env });
    if (!this.door) await this.#openDoor();
    await until('vizard is ready', 15_000, () => this.#ready());
    this.key = readFileSync(join(this.state, 'api.key'), 'utf8').trim();
  }

  async stop() {
    await this.process.stop();
  }

  /** Opens a call of two parties; each of their configurations is what the API returned. */
  async createCall(caller, callee) {
    const { status, body } = await this.request('POST', '/v1/calls', {
      parties: [{ id: caller }, { id: callee }], caller });
    if (status !== 201) throw new Error(`POST /v1/calls: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  /** Gives `{ status, body }`. */
  async request(method, path, body) {
    const { status, text } = await this.#ask(method, path, body);
    return { status, body: text === '' ? null : JSON.parse(text) };
  }

  /** How many packets of media went by the workers' own entries (`table`), and how many by way of the one lock (`relay`). */
  async forwarded() {
    const { text } = await this.#ask('GET', '/metrics');
    const of = (path) => Number(text.match(new RegExp(`^vizard_packets_forwarded_total\\{path="${path}"\\} (\\d+)$`, 'm'))[1]);
    return { table: of('table'), relay: of('relay') };
  }

  #ask(method, path, body) {
    return new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${this.key}`, 'content-type': 'application/json' };
      const request = http.request({ socketPath: this.door, method, path, headers, timeout: 5000 }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk) => { text += chunk; });
        response.on('end', () => {
          this.answers.push(`${method} ${path}: ${response.statusCode} ${text}`);
          resolve({ status: response.statusCode, text });
        });
      });
      request.on('timeout', () => request.destroy(new Error(`${method} ${path}: no answer`)));
      request.on('error', reject);
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  async #openDoor() {
    this.door = join(this.directory, 'control.sock');
    const argv = [process.execPath, new URL('door.mjs', import.meta.url).pathname, this.door, String(CONTROL_PORT)];
    const log = join(this.directory, 'control-door.log');
    await opened(new Process(this.network.inside('relay', argv), { log }), 'the door to the control API');
  }

  async #ready() {
    if (!this.process.alive()) throw new Error(`vizard ended: ${this.process.text()}`);
    const answer = await this.request('GET', '/readyz').catch(() => null);
    return answer?.status === 200;
  }
}

/** The configuration without the URLs of other protocols, and with a `family` without those of the other. */
export function choose(configuration, protocol, family) {
  if (!protocol) return configuration;
  const fits = (url) => url.endsWith(`?transport=${protocol}`) && (!family || url.includes('[') === (family === 6));
  const servers = configuration.iceServers.map((server) => ({ ...server, urls: [server.urls].flat().filter(fits) }));
  return { ...configuration, iceServers: servers };
}
