// tcpdump on all interfaces of one namespace, loopback included.
import { readFileSync } from 'node:fs';
import { Process, until } from './processes.mjs';

const LAST = 'the last packet of the capture';

export class Tap {
  constructor(network, role, file) {
    Object.assign(this, { network, role, file, log: `${file}.log` });
  }

  async start() {
    const argv = ['tcpdump', '-i', 'any', '-n', '-s', '0', '-B', '16384', '-U', '-Z', 'root', '-w', this.file];
    this.process = this.#run(argv);
    await until('tcpdump listens', 5000, () => this.process.text().includes('listening on'));
  }

  /** tcpdump writes in blocks, up to a second late: it has everything once it has this last packet. */
  async stop() {
    this.#run(['bash', '-c', `echo ${LAST} >/dev/udp/127.0.0.1/9`]);
    await until('the capture is complete', 5000, () => readFileSync(this.file).includes(LAST));
    await this.process.stop('SIGINT', 5000);
  }

  /** Whether the kernel kept nothing from a stopped tap. */
  whole() {
    return this.process.text().includes('\n0 packets dropped by kernel');
  }

  #run(argv) {
    return new Process(this.network.inside(this.role, argv), { log: this.log });
  }
}
