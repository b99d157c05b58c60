// What a finished call between two stacks must have been like, beside what `../browsers/verdict.mjs`
// says of its captures.
import { isIPv4 } from 'node:net';
import { SIDES } from '../browsers/call.mjs';
import { relayed } from '../browsers/capture/capture.mjs';
import { secrets } from '../browsers/network.mjs';

const OTHER = { a: 'b', b: 'a' };
const CANDIDATE = /(?:candidate:)?\S+ \d+ (?:udp|tcp) \d+ (\S+) \d+ typ (\S+)(?: raddr (\S+))?/gi;
/** What a candidate may say of where its allocation was asked for, by the family of the candidate. */
const HARMLESS = { 4: ['192.0.2.1', '0.0.0.0'], 6: ['2001:db8::1', '::'] };
const MASK = { 4: /^198\.1[89]\./, 6: /^2001:2:/ };
/** Content type of a DTLS handshake record. */
const HANDSHAKE = 22;

/** Everything that a stack gave out or was given: candidates, descriptions, selected pair, statistics. */
function shown(call, side) {
  return JSON.stringify([call.descriptions[side], call.offered[OTHER[side]]]);
}

const told = (text, of) => secrets(of).filter((address) => text.includes(address));

export function judgeDescriptions(call, check) {
  for (const side of SIDES) {
    const leaks = told(shown(call, side), OTHER[side]);
    check(`the stack of ${side} shows no address of the other`, leaks.length === 0, leaks);
    const own = told(JSON.stringify(call.offered[side]), side);
    check(`the stack of ${side} gives out no address of its own`, own.length === 0, own);
    judgeCandidates(side, JSON.stringify(call.offered[side]), check);
  }
}

/** Relay candidates only, each a mask address. */
function judgeCandidates(side, offer, check) {
  const offered = candidates(offer);
  check(`${side} offers candidates`, offered.length > 0, offer);
  for (const { address, type } of offered) {
    check(`${side} offers relay candidates only`, type === 'relay', type);
    check(`${side} offers a mask address`, MASK[family(address)].test(address), address);
  }
  judgeRelated(side, offered, check);
}

/** Beside a relay candidate stands an address that tells nothing, of the family of the candidate. */
function judgeRelated(side, offered, check) {
  for (const { address, related } of offered.filter(({ type }) => type === 'relay')) {
    const harmless = related === undefined || HARMLESS[family(address)].includes(related);
    check(`the related address of ${side} tells nothing`, harmless, { address, related });
  }
}

const candidates = (offer) => [...offer.matchAll(CANDIDATE)].map(([, address, type, related]) => ({ address, type, related }));

const family = (address) => (isIPv4(address) ? 4 : 6);

/** The captures hold payloads of at least these sizes, from each side to the other. */
export function judgeSizes(call, captures, sizes, check) {
  for (const side of SIDES) {
    const got = relayed(captures[side].fromRelay).map((payload) => payload.length);
    for (const size of sizes[OTHER[side]] ?? []) {
      check(`${side} gets payloads of ${size} bytes`, got.includes(size), [...new Set(got)].sort((x, y) => y - x).slice(0, 8));
    }
    const least = call.options[OTHER[side]].full ?? 0;
    check(`${side} gets payloads of at least ${least} bytes`, got.some((size) => size >= least), Math.max(0, ...got));
  }
}

/** A flight of a handshake that is too long for one packet on most paths went through whole, both ways. */
export function judgeFlights(captures, least, check) {
  for (const side of SIDES) {
    const flights = relayed(captures[side].fromRelay).filter((payload) => payload.charCodeAt(0) === HANDSHAKE);
    const longest = Math.max(0, ...flights.map((flight) => flight.length));
    check(`${side} gets a DTLS flight of at least ${least[side]} bytes`, longest >= least[side], longest);
  }
}

/**
 * A call that may go direct: the same looks must find the other's address. Stacks that are told to be
 * relay-only may write zeros for the related address; these write what the relay has told them.
 */
export function judgeControl(call, check) {
  for (const side of SIDES) {
    const offered = candidates(JSON.stringify(call.offered[side]));
    check(`control: ${side} offers a relay candidate, too`, offered.some(({ type }) => type === 'relay'), offered);
    judgeRelated(side, offered, check);
    check(`control: the stack of ${side} shows the address of the other`, told(shown(call, side), OTHER[side]).length > 0);
    check(`control: the stack of ${side} gives out its own`, told(JSON.stringify(call.offered[side]), side).length > 0);
  }
}
