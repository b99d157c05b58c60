// One party of the call. It takes orders from the test over server-sent events and reports over
// POST /send; it knows nothing but the configuration and the signalling that it is given.
'use strict';

const SAMPLE_EVERY_MS = 100;
const REPORT_EVERY_MS = 300;
const RETURN_WITHIN_MS = 6000;

const outbox = [];
let sending = Promise.resolve();
let pc = null;
let channel = null;
let configuration = null;
let echoes = 0;
const early = [];

function report(message) {
  outbox.push(message);
  if (message.kind !== 'sample') flush();
}

/** One POST at a time: signalling must arrive in the order in which it was made. */
function flush() {
  sending = sending.then(async () => {
    const body = outbox.splice(0);
    if (body.length > 0) await fetch('/send', { method: 'POST', body: JSON.stringify(body) });
  });
}

const failed = (what) => report({ kind: 'error', text: String(what?.stack || what) });
addEventListener('error', (event) => failed(event.error || event.message));
addEventListener('unhandledrejection', (event) => failed(event.reason));

const orders = { start, signal, describe, comeBack };
new EventSource('/events').onmessage = (event) => {
  const { order, ...details } = JSON.parse(event.data);
  orders[order](details).catch(failed);
};
setInterval(flush, REPORT_EVERY_MS);
report({ kind: 'ready', agent: navigator.userAgent });

async function start(details) {
  configuration = details.configuration;
  const media = await navigator.mediaDevices.getUserMedia({
    audio: true,
    video: { width: 320, height: 240, frameRate: 10 },
  });
  pc = new RTCPeerConnection(configuration);
  pc.onicecandidate = ({ candidate }) => report({ kind: 'signal', candidate: candidate?.toJSON() ?? null });
  pc.onicecandidateerror = (e) => report({ kind: 'note', text: `candidate error ${e.errorCode} ${e.errorText} ${e.url}` });
  pc.onconnectionstatechange = () => report({ kind: 'note', text: `connection ${pc.connectionState}` });
  pc.ontrack = ({ streams: [stream] }) => { document.getElementById('remote').srcObject = stream; };
  pc.ondatachannel = (event) => adopt(event.channel);
  for (const track of media.getTracks()) pc.addTrack(track, media);
  setInterval(() => sample().catch(failed), SAMPLE_EVERY_MS);
  if (details.caller) {
    adopt(pc.createDataChannel('talk'));
    await pc.setLocalDescription();
    report({ kind: 'signal', description: pc.localDescription.toJSON() });
  } else {
    for (const message of early.splice(0)) await signal(message);
  }
}

async function signal(message) {
  if (pc === null) return void early.push(message);
  if (message.description) {
    await pc.setRemoteDescription(message.description);
    if (message.description.type === 'offer') {
      await pc.setLocalDescription();
      report({ kind: 'signal', description: pc.localDescription.toJSON() });
    }
    for (const kept of early.splice(0)) await signal(kept);
  } else if (pc.remoteDescription === null) {
    early.push(message);
  } else if (message.candidate) {
    await pc.addIceCandidate(message.candidate);
  }
}

function adopt(opened) {
  channel = opened;
  channel.onmessage = ({ data }) => {
    const [what, text] = data.split(' ');
    if (what === 'echo') echoes += 1;
    else if (channel.readyState === 'open') channel.send(`echo ${text}`);
  };
  let count = 0;
  setInterval(() => {
    if (channel.readyState === 'open') channel.send(`say ${count++}`);
  }, 100);
}

async function sample() {
  const at = Date.now();
  const stats = [...(await pc.getStats()).values()];
  const inbound = (kind) => stats.filter((s) => s.type === 'inbound-rtp' && s.kind === kind);
  const sum = (list, field) => list.reduce((total, s) => total + (s[field] || 0), 0);
  report({
    kind: 'sample',
    at,
    connection: pc.connectionState,
    ice: pc.iceConnectionState,
    dtls: [...dtlsStates()],
    audio: sum(inbound('audio'), 'bytesReceived'),
    video: sum(inbound('video'), 'bytesReceived'),
    data: sum(stats.filter((s) => s.type === 'data-channel'), 'bytesReceived'),
    frames: sum(inbound('video'), 'framesDecoded'),
    echoes,
    pair: selectedPair(stats),
  });
}

function dtlsStates() {
  const transports = [...pc.getSenders(), ...pc.getReceivers(), pc.sctp].map((one) => one?.transport);
  return new Set(transports.filter(Boolean).map((transport) => transport.state));
}

function selectedPair(stats) {
  const byId = new Map(stats.map((s) => [s.id, s]));
  const transport = stats.find((s) => s.type === 'transport' && s.selectedCandidatePairId);
  const pair = byId.get(transport?.selectedCandidatePairId)
    ?? stats.find((s) => s.type === 'candidate-pair' && s.selected);
  if (!pair) return null;
  const [local, remote] = [byId.get(pair.localCandidateId), byId.get(pair.remoteCandidateId)];
  return { local: local?.candidateType, remote: remote?.candidateType, relayProtocol: local?.relayProtocol };
}

/** Everything this side can know of addresses: descriptions and candidates, as the browser shows them. */
async function describe() {
  const stats = [...(await pc.getStats()).values()];
  report({
    kind: 'description',
    local: pc.localDescription.sdp,
    remote: pc.remoteDescription.sdp,
    candidates: stats.filter((s) => /candidate/.test(s.type)),
  });
}

/** The same ticket again, in a new connection: reports the relay candidates that it got. */
async function comeBack() {
  const again = new RTCPeerConnection(configuration);
  const relayed = [];
  const errors = [];
  again.onicecandidate = ({ candidate }) => { if (candidate?.type === 'relay') relayed.push(candidate.candidate); };
  again.onicecandidateerror = (e) => errors.push(e.errorCode);
  again.createDataChannel('again');
  const done = new Promise((resolve) => {
    again.onicegatheringstatechange = () => { if (again.iceGatheringState === 'complete') resolve(true); };
    setTimeout(() => resolve(false), RETURN_WITHIN_MS);
  });
  await again.setLocalDescription();
  const complete = await done;
  again.close();
  report({ kind: 'returned', relayed, errors, complete });
}
