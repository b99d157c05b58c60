// Every stack against itself and across, a few seconds each, then the positive control.
//   node smoke.mjs PREFIX DIRECTORY BINARY [FILTER]
import { findLeaks } from '../browsers/capture/leaks.mjs';
import { SIDES } from '../browsers/call.mjs';
import { secrets } from '../browsers/network.mjs';
import { judgeCaptures, readCaptures } from '../browsers/verdict.mjs';
import { Stage } from './stage.mjs';
import * as verdict from './verdict.mjs';

/** Packets of each flow that each side must receive; datagrams are all that there is of theirs. */
const ENOUGH = { audio: 20, video: 20, data: 20, datagrams: 60 };
/** The payloads that aiortc and GStreamer make, and one of the relay's cap. */
const SIZES = [1300, 1400, 4096];
const RTP_SIZES = [1300, 1400];
// RTP header and the tag of SRTP, in the profiles that the stacks agree on.
const SRTP = 12 + 16;
const ALL = ['audio', 'video', 'data'];

// `flows` are what each side must receive, `sizes` payloads that each side sends among others, `full`
// the least size of its largest ones, `flights` that of the longest DTLS flight to each side.
const CALLS = [
  { name: 'aioice-aioice', a: 'aioice', b: 'aioice', flows: { a: ['datagrams'], b: ['datagrams'] },
    options: { a: { sizes: SIZES }, b: { sizes: SIZES } }, exact: true },
  { name: 'aioice-aioice-tcp-ipv6', a: 'aioice', b: 'aioice', flows: { a: ['datagrams'], b: ['datagrams'] },
    options: { a: { sizes: SIZES, protocol: 'tcp' }, b: { sizes: SIZES, family: 6 } }, exact: true },
  { name: 'aiortc-aiortc', a: 'aiortc', b: 'aiortc', flows: { a: ALL, b: ALL }, flights: { a: 1900, b: 2050 },
    options: { a: { full: 1300, large_certificate: true }, b: { full: 1300, large_certificate: true } } },
  { name: 'werift-werift', a: 'werift', b: 'werift', flows: { a: ['audio', 'data'], b: ['audio', 'data'] },
    options: { a: { sizes: RTP_SIZES, full: 1400 + SRTP }, b: { sizes: RTP_SIZES, full: 1400 + SRTP } } },
  { name: 'aiortc-werift', a: 'aiortc', b: 'werift', flows: { a: ['audio', 'data'], b: ALL },
    options: { a: { full: 1300 }, b: { sizes: RTP_SIZES, full: 1400 } } },
  { name: 'werift-aiortc-tcp', a: 'werift', b: 'aiortc', flows: { a: ['audio', 'data'], b: ['audio', 'data'] },
    options: { a: { sizes: RTP_SIZES, full: 1400 }, b: { media: ['audio'], protocol: 'tcp' } } },
  { name: 'libdatachannel-libdatachannel', a: 'libdatachannel', b: 'libdatachannel', flows: { a: ['data'], b: ['data'] },
    options: { a: { full: 1300 }, b: { full: 1300 } } },
  { name: 'libdatachannel-aiortc', a: 'libdatachannel', b: 'aiortc', flows: { a: ['data'], b: ['data'] },
    options: { a: { full: 1300 }, b: { media: [] } } },
];
const CONTROL = { name: 'aioice-aioice-direct', a: 'aioice', b: 'aioice', flows: { a: ['datagrams'], b: ['datagrams'] },
  options: { b: { family: 6 } }, direct: true };

const [prefix, directory, binary, filter = ''] = process.argv.slice(2);
const stage = new Stage(prefix, directory, binary);
const without = new Set((process.env.STACKS_WITHOUT ?? '').split(' '));
const wanted = ({ name, a, b }) => name.includes(filter) && !without.has(a) && !without.has(b);

async function masked(plan) {
  await stage.attempt(plan.name, async (keep, check) => {
    stage.network.separate(true);
    const call = keep(await stage.call(plan));
    await call.open();
    await call.talk(plan.flows, ENOUGH);
    await call.describe();
    await call.end(() => stage.delete(call));
    await call.close();
    verdict.judgeDescriptions(call, check);
    const captures = readCaptures(call);
    judgeCaptures(call, captures, check);
    const exact = plan.exact ? { a: plan.options.a.sizes, b: plan.options.b.sizes } : {};
    verdict.judgeSizes(call, captures, exact, check);
    if (plan.flights) verdict.judgeFlights(captures, plan.flights, check);
    check('the router saw no packet from client to client', stage.network.crossed() === 0, stage.network.crossed());
    return `talking after ${call.talked} ms`;
  });
}

/** The same looks at a call whose sides may do without the relay. */
async function control(plan) {
  await stage.attempt(plan.name, async (keep, check) => {
    stage.network.separate(false);
    const call = keep(await stage.call(plan));
    await call.open();
    await call.talk(plan.flows, ENOUGH);
    await call.describe();
    await call.end(() => stage.delete(call));
    await call.close();
    verdict.judgeControl(call, check);
    const captures = readCaptures(call);
    for (const side of SIDES) {
      const other = secrets(side === 'a' ? 'b' : 'a');
      check(`control: the capture of ${side} holds the other`, findLeaks(captures[side], other).length > 0);
    }
    check('control: the router saw packets from client to client', stage.network.crossed() > 0);
    return `talking after ${call.talked} ms`;
  });
}

process.exit(await stage.run(async () => {
  for (const plan of CALLS.filter(wanted)) await masked(plan);
  if (wanted(CONTROL)) await control(CONTROL);
}));
