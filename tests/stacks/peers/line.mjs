// How a peer is talked to: a line of JSON each, orders on stdin, what it says on stdout. It ends
// with its stdin, so that it never outlives the run.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { join } from 'node:path';

/** Loads a package from where `run.sh` has installed it. */
export const stack = createRequire(join(process.env.STACKS_MODULES, 'package.json'));

export const say = (kind, fields = {}) => process.stdout.write(`${JSON.stringify({ kind, ...fields })}\n`);

/** Obeys `{ order, ... }` by the method of that name. */
export function obey(orders) {
  const lines = createInterface({ input: process.stdin });
  lines.on('close', () => process.exit(0));
  lines.on('line', async (line) => {
    const { order, ...rest } = JSON.parse(line);
    try {
      await orders[order](rest);
    } catch (error) {
      say('error', { text: error.stack });
    }
  });
}

/** What has been sent and received of each flow, and the longest time without a packet. */
export class Tally {
  #flows = {};

  sent(flow) {
    this.#flow(flow).sent += 1;
  }

  received(flow, now = performance.now()) {
    const count = this.#flow(flow);
    count.gap = Math.max(count.gap, now - (count.last ?? now));
    count.last = now;
    count.received += 1;
  }

  /** Says all of it every quarter of a second; a gap that lasts counts as far as it has come. */
  report(connected) {
    setInterval(() => {
      const now = performance.now();
      const flows = Object.entries(this.#flows).map(([name, { sent, received, gap, last }]) =>
        [name, { sent, received, gap: Math.round(Math.max(gap, now - (last ?? now))) }]);
      say('sample', { connected: connected(), flows: Object.fromEntries(flows) });
    }, 250);
  }

  #flow(name) {
    return (this.#flows[name] ??= { sent: 0, received: 0, gap: 0 });
  }
}
