// Compiled with `tsc --strict` against the client that openapi-typescript makes of docs/openapi.json.
import type { components, paths } from './api';

type Created = paths['/v1/calls']['post']['responses'][201]['content']['application/json'];
type Shown = paths['/v1/calls/{id}']['get']['responses'][200]['content']['application/json'];
type Renewed = paths['/v1/calls/{id}/renew']['post']['responses'][200]['content']['application/json'];
type Node = paths['/v1/node']['get']['responses'][200]['content']['application/json'];

// The README's own line.
export const connect = (answer: Created) =>
  new RTCPeerConnection(answer.parties.alice.rtc_configuration);

// Nothing is missing that a platform hands on.
export const configuration = (answer: Created): RTCConfiguration => answer.parties.alice.rtc_configuration;

export const ofDevice = (answer: Created): RTCConfiguration | undefined =>
  answer.parties.bob.devices?.phone.rtc_configuration;

export const restart = (pc: RTCPeerConnection, answer: Renewed) => {
  const renewed = answer.parties.alice.rtc_configuration;
  if (renewed && answer.apply !== undefined) pc.setConfiguration(renewed);
};

export const ended = (call: Shown): boolean => call.phase === 'ended';

export const urls = (node: Node): string[] => node.urls.filter(({ reach }) => reach === 'internet').map(({ url }) => url);

export const call: components['schemas']['CallRequest'] = {
  parties: [{ id: 'alice' }, { id: 'bob', reveal_address_to: 'contacts' }],
  caller: 'alice',
};

// What does not compile is seen to be refused.
// @ts-expect-error a configuration has another name
export const wrongName = (answer: Created) => answer.parties.alice.rtc_config;
// @ts-expect-error what is shown later has no word of this kind
export const wrongPhase = (call: Shown) => call.phase === 'over';
