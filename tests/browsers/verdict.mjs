// What a finished call must have been like. Every function takes the call and adds named checks.
import { Capture, relayed } from './capture/capture.mjs';
import { findLeaks } from './capture/leaks.mjs';
import { SIDES } from './call.mjs';
import { RELAY, RELAY6, RELAY_PORT, addresses, secrets } from './network.mjs';

const BINDING = 1;
const END_WITHIN = 1000;
const OTHER = { a: 'b', b: 'a' };

/** Media, data and DTLS, by the browsers' own counters. */
export function judgeMedia(call, check, { masked, protocol }) {
  for (const side of SIDES) {
    const watched = call.samples[side].filter((sample) => sample.at >= call.talked && sample.at < (call.ended ?? Infinity));
    const [first, last] = [watched[0], watched.at(-1)];
    const { connection, pair, dtls } = last;
    check(`${side} is connected`, connection === 'connected', connection);
    const ends = [pair?.local, pair?.remote];
    if (masked) check(`${side} uses relay candidates only`, ends.every((type) => type === 'relay'), pair);
    else check(`${side} is connected directly`, pair && !ends.includes('relay'), pair);
    if (protocol) check(`${side} reaches the relay over ${protocol[side]}`, pair?.relayProtocol === protocol[side], pair);
    for (const what of ['audio', 'video', 'data', 'frames', 'echoes']) {
      check(`${side} receives ${what}`, last[what] > first[what], [first[what], last[what]]);
    }
    check(`${side} has DTLS connected`, dtls.length === 1 && dtls[0] === 'connected', dtls);
  }
}

/** What the browsers show to their pages: descriptions and candidates. */
export function judgeDescriptions(call, check) {
  for (const side of SIDES) {
    const shown = JSON.stringify(call.descriptions[side]);
    const told = secrets(OTHER[side]).filter((address) => shown.includes(address));
    check(`the page of ${side} is shown no address of the other`, told.length === 0, told);
  }
}

/** The end: by the browsers' counters here, by the captures in `judgeCaptures`. */
export function judgeEnd(call, check) {
  const late = {};
  for (const side of SIDES) {
    late[side] = lastArrival(call.samples[side]) - call.ended;
    const until = call.samples[side].at(-1).at - call.ended;
    check(`the media of ${side} stops within 1 s`, late[side] <= END_WITHIN && until > END_WITHIN, { last: late[side], until });
  }
  return late;
}

/** When the received bytes rose for the last time. */
function lastArrival(samples) {
  const total = ({ audio, video, data }) => audio + video + data;
  for (let i = samples.length - 1; i > 0; i -= 1) {
    if (total(samples[i]) > total(samples[i - 1])) return samples[i].at;
  }
  return 0;
}

/** Neither side got a relay candidate out of its ticket again. */
export function judgeReturn(call, check) {
  for (const side of SIDES) {
    const { relayed: candidates, errors, complete } = call.returned[side];
    check(`the ticket of ${side} is dead`, candidates.length === 0, { candidates, errors, complete });
  }
}

/** Shows that the come-back test can tell a living ticket from a dead one. */
export function judgeLivingTickets(call, check) {
  for (const side of SIDES) check(`control: the living ticket of ${side} works again`, call.returned[side].relayed.length > 0, call.returned[side]);
}

export function readCaptures(call) {
  return Object.fromEntries(SIDES.map((side) =>
    [side, new Capture(call.capture(side), { addresses: [RELAY, RELAY6], port: RELAY_PORT })]));
}

/**
 * What the relay may say to a client without a call: STUN errors, and to whom asks for it his own
 * address (Chromium asks with every new connection, relay-only or not).
 */
function isRefusal({ kind, class: answer, method, data }) {
  return kind === 'stun' && data === null && (answer === 'error' || (answer === 'success' && method === BINDING));
}

/** The captures of a masked call that was ended at `call.ended`. */
export function judgeCaptures(call, captures, check) {
  check('the captures are whole', call.uncaptured === 0 && SIDES.every((side) => captures[side].gaps === 0));
  for (const side of SIDES) {
    const { fromRelay } = captures[side];
    const [theirs, ours] = [relayed(captures[OTHER[side]].toRelay), relayed(fromRelay)];
    const sent = new Set(theirs);
    const changed = ours.filter((payload) => !sent.has(payload)).length;
    check(`${side} gets what the other sent, byte for byte`, ours.length > 50 && changed === 0, { received: ours.length, changed });
    const afterwards = fromRelay.filter((message) => message.at > call.ended + END_WITHIN && !isRefusal(message));
    check(`the relay has nothing but refusals for ${side} after the end`, afterwards.length === 0, afterwards.slice(0, 5));
    const leaks = findLeaks(captures[side], secrets(OTHER[side]));
    check(`the capture of ${side} holds no address of the other`, leaks.length === 0, leaks);
    check(`the checker finds the own addresses of ${side}`, findLeaks(captures[side], secrets(side)).length > 0);
  }
}

/** The same checker must find both sides' addresses in the captures of a call that went direct. */
export function judgeControl(captures, check) {
  for (const side of SIDES) {
    const leaks = findLeaks(captures[side], secrets(OTHER[side]));
    for (const how of ['header', 'xor', 'text']) {
      check(`control: the checker finds the other in the capture of ${side} (${how})`, leaks.some((leak) => leak.how === how), leaks);
    }
    for (const which of ['public', 'private']) {
      const own = addresses(OTHER[side], which);
      check(`control: it finds the ${which} address`, leaks.some((leak) => own.includes(leak.address)), leaks);
    }
  }
}
