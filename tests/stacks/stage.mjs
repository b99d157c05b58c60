// What the smoke and the soak have in common: one network, one relay, calls that are opened by its
// API, and a report that shows logs only of what failed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SIDES } from '../browsers/call.mjs';
import { checklist, totals } from '../browsers/checklist.mjs';
import { Network, RELAY, RELAY6 } from '../browsers/network.mjs';
import { stopAll } from '../browsers/processes.mjs';
import { Relay, choose } from '../browsers/relay.mjs';
import { Call } from './call.mjs';

const PARTIES = { a: 'alice', b: 'bob' };

export class Stage {
  constructor(prefix, directory, binary) {
    this.directory = directory;
    this.network = new Network(prefix);
    this.relay = new Relay(this.network, directory, binary);
  }

  /** Runs `play` on a network with a relay, prints the sum, and gives the exit code. */
  async run(play) {
    try {
      this.network.up();
      await this.relay.start([RELAY, RELAY6]);
      await play();
    } catch (error) {
      checklist('the run').check('comes to its end', false, error);
    } finally {
      await stopAll();
    }
    console.log(`${totals.passed} passed, ${totals.failed} failed`);
    return totals.failed === 0 ? 0 : 1;
  }

  /** A masked call between two stacks; `direct` lets them do without the relay all the same. */
  async call({ name, a, b, options = {}, direct = false, capture = true }) {
    const opened = await this.relay.createCall(PARTIES.a, PARTIES.b);
    const each = (make) => Object.fromEntries(SIDES.map((side) => [side, make(side)]));
    const sides = each((side) => ({ protocol: 'udp', family: 4, ...options[side] }));
    const configurations = each((side) => {
      const given = opened.parties[PARTIES[side]].rtc_configuration;
      const { protocol, family } = sides[side];
      return { ...choose(given, protocol, family), ...(direct && { iceTransportPolicy: 'all' }) };
    });
    const call = new Call(this.network, join(this.directory, name), { stacks: { a, b }, configurations, options: sides, capture });
    call.id = opened.id;
    return call;
  }

  async delete(call) {
    const { status } = await this.relay.request('DELETE', `/v1/calls/${call.id}`);
    if (status < 200 || status >= 300) throw new Error(`DELETE: ${status}`);
  }

  /** Runs one call; prints its line, and the ends of its logs if anything failed. */
  async attempt(name, run) {
    const list = checklist(name);
    const began = Date.now();
    let call = null;
    let summary = '';
    try {
      summary = await run((made) => { call = made; return made; }, list.check);
    } catch (error) {
      list.check('runs to its end', false, error);
      await call?.close().catch(() => {});
    }
    const seconds = ((Date.now() - began) / 1000).toFixed(0);
    console.log(`${list.failed ? 'FAILED' : 'ok'} ${name}: ${list.passed} checks passed, ${list.failed} failed, ${seconds} s; ${summary}`);
    if (list.failed > 0) this.#explain(call);
  }

  #explain(call) {
    console.log((call?.notes ?? []).join('\n'));
    for (const side of SIDES) console.log(`last sample of ${side}: ${JSON.stringify(call?.samples[side])}`);
    for (const log of [...(call?.logs() ?? []), this.relay.log]) console.log(`--- ${log}\n${tail(log)}`);
  }
}

function tail(file) {
  try {
    return readFileSync(file, 'utf8').split('\n').slice(-25).join('\n');
  } catch (error) {
    return String(error);
  }
}
