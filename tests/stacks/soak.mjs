// Stacks hold their media for eleven minutes, longer than any permission, channel or allocation lives
// without being renewed: no side may be without a packet for longer than two seconds.
//   node soak.mjs PREFIX DIRECTORY BINARY [FILTER]
import { SIDES } from '../browsers/call.mjs';
import { Stage } from './stage.mjs';

const HOLD = Number(process.env.VIZARD_SOAK_SECONDS ?? 660) * 1000;
const LONGEST_GAP = 2000;
/** Of what one side has sent, so much must have reached the other, but for what may be on its way. */
const ARRIVES = 0.99;
const ON_ITS_WAY = 50;
const EVERY = 60_000;

const CALLS = [
  { name: 'aioice-aioice', a: 'aioice', b: 'aioice', flows: ['datagrams'] },
  { name: 'werift-werift', a: 'werift', b: 'werift', flows: ['audio', 'data'] },
  { name: 'aiortc-werift', a: 'aiortc', b: 'werift', flows: ['audio', 'data'], options: { a: { media: ['audio'] } } },
  { name: 'libdatachannel-libdatachannel', a: 'libdatachannel', b: 'libdatachannel', flows: ['data'] },
];

const [prefix, directory, binary, filter = ''] = process.argv.slice(2);
const stage = new Stage(prefix, directory, binary);
const without = new Set((process.env.STACKS_WITHOUT ?? '').split(' '));
const wanted = ({ name, a, b }) => name.includes(filter) && !without.has(a) && !without.has(b);

async function hold({ flows, ...plan }) {
  await stage.attempt(plan.name, async (keep, check) => {
    const call = keep(await stage.call({ ...plan, capture: false }));
    await call.open();
    await call.talk({ a: flows, b: flows }, Object.fromEntries(flows.map((flow) => [flow, 1])));
    let next = Date.now() + EVERY;
    await call.hold(HOLD, () => {
      for (const [side, flow, { gap }] of counts(call, flows)) {
        if (gap > LONGEST_GAP) throw new Error(`${side} was without ${flow} for ${gap} ms: ${summary(call, flows)}`);
      }
      if (Date.now() >= next) {
        console.log(`${plan.name}: ${summary(call, flows)}`);
        next += EVERY;
      }
    });
    for (const [side, flow, { received }] of counts(call, flows)) {
      const { sent } = call.samples[side === 'a' ? 'b' : 'a'].flows[flow];
      check(`${side} has received the ${flow} that was sent`, received > 0 && received >= sent * ARRIVES - ON_ITS_WAY, { sent, received });
    }
    const result = summary(call, flows);
    await stage.delete(call);
    await call.close();
    return result;
  });
}

const counts = (call, flows) => SIDES.flatMap((side) => flows.map((flow) => [side, flow, call.samples[side].flows[flow]]));

const summary = (call, flows) => counts(call, flows).map(([side, flow, { sent, received, gap }]) =>
  `${side} ${flow}: ${sent} sent, ${received} received, longest gap ${gap} ms`).join('; ');

process.exit(await stage.run(async () => {
  stage.network.separate(true);
  await Promise.all(CALLS.filter(wanted).map(hold));
}));
