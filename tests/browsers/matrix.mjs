// The run: every pairing of the two browsers over UDP and over TCP, then the positive control.
//   node matrix.mjs PREFIX DIRECTORY BINARY [FILTER]
import os from 'node:os';
import { readFileSync, readdirSync, statSync, mkdirSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Call, SIDES } from './call.mjs';
import { checklist, totals } from './checklist.mjs';
import { notations } from './capture/leaks.mjs';
import { Network, RELAY, RELAY6, secrets } from './network.mjs';
import { stopAll } from './processes.mjs';
import { Relay, choose } from './relay.mjs';
import * as verdict from './verdict.mjs';

const PARTIES = { a: 'alice', b: 'bob' };
const BROWSERS = ['chromium', 'firefox'];
const PAIRS = BROWSERS.flatMap((a) => BROWSERS.map((b) => ({ a, b })));
// `protocol` is what each side is to speak to the relay, `family` 6 leaves it the relay's IPv6 URLs;
// without them a browser gets exactly what the API returned.
const CALLS = [
  ...['udp', 'tcp'].flatMap((protocol) => PAIRS.map(({ a, b }) =>
    ({ name: `${a}-${b}-${protocol}`, a, b, protocol: { a: protocol, b: protocol } }))),
  { name: 'chromium-firefox-udp-tcp', a: 'chromium', b: 'firefox', protocol: { a: 'udp', b: 'tcp' } },
];
const ON_BOTH_FAMILIES = [
  { name: 'firefox-chromium-ipv6', a: 'firefox', b: 'chromium', protocol: { a: 'udp', b: 'udp' }, family: 6 },
  { name: 'firefox-firefox-everything', a: 'firefox', b: 'firefox' },
  { name: 'chromium-firefox-everything', a: 'chromium', b: 'firefox' },
];
const CONTROLS = [{ name: 'chromium-firefox-direct', a: 'chromium', b: 'firefox' }];

const [prefix, directory, binary, filter = ''] = process.argv.slice(2);
const wanted = ({ name }) => name.includes(filter);
const network = new Network(prefix);
const relay = new Relay(network, directory, binary);

async function maskedCall({ name, a, b, protocol, family }) {
  const list = checklist(name);
  await attempt(list, async (keep) => {
    const { check } = list;
    network.separate(true);
    const before = await relay.forwarded();
    const opened = await relay.createCall(PARTIES.a, PARTIES.b);
    const configurations = eachSide((side) => choose(opened.parties[PARTIES[side]].rtc_configuration, protocol?.[side], family));
    const call = keep(new Call(network, join(directory, name), { a, b }, configurations));
    const end = async () => {
      const asked = Date.now();
      const { status } = await relay.request('DELETE', `/v1/calls/${opened.id}`);
      check('DELETE is answered', status >= 200 && status < 300, status);
      return Date.now() - asked;
    };
    await call.open();
    await call.connect();
    const answered = await call.end(end);
    await end();
    await call.comeBack();
    await call.close();
    judgePaths(before, await relay.forwarded(), check);
    verdict.judgeMedia(call, check, { masked: true, protocol });
    verdict.judgeDescriptions(call, check);
    const late = verdict.judgeEnd(call, check);
    verdict.judgeReturn(call, check);
    verdict.judgeCaptures(call, verdict.readCaptures(call), check);
    check('the router saw no packet from client to client', network.crossed() === 0, network.crossed());
    return `talking after ${call.talked - call.began} ms, silent ${late.a} and ${late.b} ms after DELETE, which took ${answered} ms`;
  });
}

/** Media goes by the workers' own entries, in whatever form the browsers send it. */
function judgePaths(before, after, check) {
  const table = after.table - before.table;
  const lock = after.relay - before.relay;
  check('at least 99 % of the media met no lock', table >= 100 && table >= 99 * lock, { table, lock });
}

/** The positive control: the same harness and the same checks, on a call that may go direct. */
async function directCall({ name, a, b }) {
  const list = checklist(name);
  await attempt(list, async (keep) => {
    network.separate(false);
    const opened = await relay.createCall(PARTIES.a, PARTIES.b);
    const configurations = eachSide((side) =>
      ({ ...opened.parties[PARTIES[side]].rtc_configuration, iceTransportPolicy: 'all' }));
    const call = keep(new Call(network, join(directory, name), { a, b }, configurations));
    await call.open();
    await call.connect();
    await call.comeBack();
    await relay.request('DELETE', `/v1/calls/${opened.id}`);
    await call.close();
    verdict.judgeLivingTickets(call, list.check);
    verdict.judgeMedia(call, list.check, { masked: false });
    verdict.judgeControl(verdict.readCaptures(call), list.check);
    list.check('control: the router saw packets from client to client', network.crossed() > 0);
    return `talking after ${call.talked - call.began} ms`;
  });
}

/** Runs one call; prints its line, and the ends of its logs if anything failed. */
async function attempt(list, run) {
  const began = Date.now();
  let call = null;
  let summary = '';
  try {
    summary = await run((made) => { mkdirSync(made.directory, { recursive: true }); call = made; return made; });
  } catch (error) {
    list.check('runs to its end', false, error);
    await call?.close().catch(() => {});
  }
  const seconds = ((Date.now() - began) / 1000).toFixed(0);
  console.log(`${list.failed ? 'FAILED' : 'ok'} ${list.title}: ${list.passed} checks passed, ${list.failed} failed, ${seconds} s; ${summary}`);
  if (list.failed > 0) explain(call);
}

function explain(call) {
  if (call) console.log([...call.errors, ...call.notes].join('\n'));
  for (const side of SIDES) console.log(`last sample of ${side}: ${JSON.stringify(call?.samples[side].at(-1))}`);
  for (const log of [...(call?.logs() ?? []), relay.log]) console.log(`--- ${log}\n${tail(log)}`);
}

function tail(file) {
  try {
    return readFileSync(file, 'utf8').split('\n').slice(-25).join('\n');
  } catch (error) {
    return String(error);
  }
}

const eachSide = (make) => Object.fromEntries(SIDES.map((side) => [side, make(side)]));

/** The relay must not have written down, in any notation, who its callers are. */
function judgeTraces() {
  const list = checklist('traces');
  const patterns = SIDES.flatMap(secrets).flatMap(notations);
  const innocent = (name, bytes) => {
    const told = patterns.filter(({ pattern }) => bytes.includes(pattern)).map(({ how, pattern }) => [how, pattern.toString('latin1')]);
    list.check(`${name} names no client`, told.length === 0, told);
  };
  innocent('the control API', Buffer.from(relay.answers.join('\n')));
  for (const file of [relay.log, ...filesBelow(relay.state)]) innocent(file, readFileSync(file));
}

function filesBelow(directory) {
  return readdirSync(directory, { recursive: true }).map((name) => join(directory, name)).filter((path) => statSync(path).isFile());
}

function judgeChecker() {
  const list = checklist('checker');
  const tests = new URL('./capture/leaks.test.mjs', import.meta.url).pathname;
  const { status, stdout } = spawnSync(process.execPath, ['--test', '--test-reporter=tap', tests], { encoding: 'utf8', timeout: 60_000 });
  list.check('finds what is planted', status === 0 && /^# pass [1-9]/m.test(stdout), stdout);
}

/** The end of a call is timed, so whatever else runs on this machine must not starve the relay. */
function goFirst() {
  try {
    os.setPriority(-10);
  } catch {
    console.log('note: no right to raise the priority; a busy machine may be too slow for the one second');
  }
}

try {
  goFirst();
  judgeChecker();
  network.up();
  await relay.start([RELAY]);
  for (const call of CALLS.filter(wanted)) await maskedCall(call);
  for (const call of CONTROLS.filter(wanted)) await directCall(call);
  await relay.stop();
  await relay.start([RELAY, RELAY6]);
  for (const call of ON_BOTH_FAMILIES.filter(wanted)) await maskedCall(call);
  judgeTraces();
} catch (error) {
  checklist('the run').check('comes to its end', false, error);
} finally {
  await stopAll();
}
console.log(`${totals.passed} passed, ${totals.failed} failed`);
process.exit(totals.failed === 0 ? 0 : 1);
