// The run: every pairing of the two browsers over UDP and over TCP, then the positive control.
//   node matrix.mjs PREFIX DIRECTORY BINARY [FILTER]
import { readFileSync, readdirSync, statSync, mkdirSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Call, SIDES } from './call.mjs';
import { Network, secrets } from './network.mjs';
import { stopAll } from './processes.mjs';
import * as verdict from './verdict.mjs';

const { Relay } = await import(process.env.STAND_IN === 'coturn' ? './standin.mjs' : './relay.mjs');
const PARTIES = { a: 'alice', b: 'bob' };
const BROWSERS = ['chromium', 'firefox'];

const [prefix, directory, binary, filter = ''] = process.argv.slice(2);
const network = new Network(prefix);
const relay = new Relay(network, directory, binary);
const totals = { passed: 0, failed: 0 };

/** A set of named checks: prints nothing but what fails. */
function checklist(title) {
  const list = { title, passed: 0, failed: 0 };
  list.check = (name, ok, detail) => {
    list[ok ? 'passed' : 'failed'] += 1;
    totals[ok ? 'passed' : 'failed'] += 1;
    if (!ok) console.log(`FAILED ${title}: ${name}${detail === undefined ? '' : `: ${show(detail)}`}`);
  };
  return list;
}

const show = (detail) => (detail instanceof Error ? detail.stack : JSON.stringify(detail)).slice(0, 2000);

async function maskedCall(a, b, protocol) {
  const list = checklist(`${a} calls ${b} over ${protocol}`);
  await attempt(list, async (keep) => {
    const { check } = list;
    network.separate(true);
    const opened = await relay.createCall(PARTIES.a, PARTIES.b);
    const configurations = eachSide((side) => only(protocol, opened.parties[PARTIES[side]].rtc_configuration));
    const call = keep(new Call(network, join(directory, `${a}-${b}-${protocol}`), { a, b }, configurations));
    const end = async () => {
      const { status } = await relay.request('DELETE', `/v1/calls/${opened.id}`);
      check('DELETE ends the call', status >= 200 && status < 300, status);
    };
    await call.open();
    await call.connect();
    await call.end(end);
    await end();
    await call.comeBack();
    await call.close();
    verdict.judgeMedia(call, check, { route: 'masked', protocol });
    verdict.judgeDescriptions(call, check);
    const late = verdict.judgeEnd(call, check);
    verdict.judgeReturn(call, check);
    verdict.judgeCaptures(call, verdict.readCaptures(call), check);
    check('the router saw no packet from client to client', network.crossed() === 0, network.crossed());
    return `talking after ${call.talked - call.began} ms, silent ${late.a} and ${late.b} ms after DELETE`;
  });
}

async function directCall(a, b) {
  const list = checklist(`control: ${a} calls ${b} directly`);
  await attempt(list, async (keep) => {
    network.separate(false);
    const opened = await relay.createCall(PARTIES.a, PARTIES.b);
    const configurations = eachSide((side) =>
      ({ ...opened.parties[PARTIES[side]].rtc_configuration, iceTransportPolicy: 'all' }));
    const call = keep(new Call(network, join(directory, `${a}-${b}-direct`), { a, b }, configurations));
    await call.open();
    await call.connect();
    await relay.request('DELETE', `/v1/calls/${opened.id}`);
    await call.close();
    verdict.judgeMedia(call, list.check, { route: 'direct' });
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

/** The configuration with nothing but the URLs of one transport. */
function only(protocol, configuration) {
  const urls = (server) => [server.urls].flat().filter((url) => url.endsWith(`?transport=${protocol}`));
  return { ...configuration, iceServers: configuration.iceServers.map((server) => ({ ...server, urls: urls(server) })) };
}

/** The relay itself must not have written down who its callers are. */
function judgeTraces() {
  const list = checklist('traces');
  const everybody = SIDES.flatMap(secrets);
  const names = (text) => everybody.filter((address) => text.includes(address));
  list.check('the control API names no client', names(relay.answers.join('\n')).length === 0, names(relay.answers.join('\n')));
  for (const file of [relay.log, ...filesBelow(relay.state)]) {
    list.check(`${file} names no client`, names(readFileSync(file, 'latin1')).length === 0);
  }
}

function filesBelow(directory) {
  return readdirSync(directory, { recursive: true }).map((name) => join(directory, name)).filter((path) => statSync(path).isFile());
}

function judgeChecker() {
  const list = checklist('checker');
  const tests = new URL('./capture/', import.meta.url).pathname;
  const { status, stdout } = spawnSync(process.execPath, ['--test', tests], { encoding: 'utf8', timeout: 60_000 });
  list.check('finds what is planted', status === 0, stdout);
}

try {
  judgeChecker();
  network.up();
  await relay.start();
  for (const protocol of ['udp', 'tcp']) {
    for (const a of BROWSERS) {
      for (const b of BROWSERS) if (`${a}-${b}-${protocol}`.includes(filter)) await maskedCall(a, b, protocol);
    }
  }
  if ('chromium-firefox-direct'.includes(filter)) await directCall('chromium', 'firefox');
  judgeTraces();
} catch (error) {
  checklist('the run').check('comes to its end', false, error);
} finally {
  await stopAll();
}
console.log(`${totals.passed} passed, ${totals.failed} failed`);
process.exit(totals.failed === 0 ? 0 : 1);
