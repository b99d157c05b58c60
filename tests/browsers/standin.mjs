// development only
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RELAY, RELAY6 } from './network.mjs';
import { Process } from './processes.mjs';
import { setTimeout as delay } from 'node:timers/promises';
export class Relay {
  answers = [];
  constructor(network, directory) { this.network = network; this.directory = directory; this.log = join(directory, 'coturn.log'); this.state = directory; }
  async start(a = [RELAY]) { this.addresses = a; }
  async stop() {}
  async createCall(caller, callee) {
    const argv = ['turnserver', '-n', '-L', RELAY, '-L', RELAY6, '-a', '-u', 'u:p', '-r', 'x', '--no-cli', '--log-file', 'stdout', '--no-tls', '--no-dtls', '--min-port', '40000', '--max-port', '41000'];
    this.process = new Process(this.network.inside('relay', argv), { log: this.log });
    await delay(500);
    const rtc_configuration = { iceServers: [{ urls: this.addresses.flatMap((a) => ['udp', 'tcp'].map((t) => `turn:${a.includes(':') ? `[${a}]` : a}:3478?transport=${t}`)), username: 'u', credential: 'p' }], iceTransportPolicy: 'relay' };
    return { id: 'x', parties: { [caller]: { rtc_configuration }, [callee]: { rtc_configuration } } };
  }
  async request(method) { if (method === 'DELETE') await this.process.stop('SIGKILL'); return { status: 204, body: null }; }
}
