// One side of a call with werift: audio of random samples, with packets of the sizes asked for among
// them, and data.
import { randomBytes } from 'node:crypto';
import { Tally, obey, say, stack } from './line.mjs';

const { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters, RtpHeader, RtpPacket } = stack('werift');

const PAYLOAD = 160;
const PROBE_EACH = 5;
const PCMU = new RTCRtpCodecParameters({ mimeType: 'audio/PCMU', clockRate: 8000, channels: 1, payloadType: 0 });
const VP8 = new RTCRtpCodecParameters({ mimeType: 'video/VP8', clockRate: 90000 });

class Peer {
  #tally = new Tally();
  #connection;
  #caller;

  async start({ caller, configuration, sizes = [] }) {
    this.#caller = caller;
    const connection = new RTCPeerConnection({ ...configuration, codecs: { audio: [PCMU], video: [VP8] },
      bundlePolicy: 'max-bundle' });
    this.#connection = connection;
    this.#tally.report(() => connection.connectionState === 'connected');
    connection.onTrack.subscribe((track) => track.onReceiveRtp.subscribe(() => this.#tally.received(track.kind)));
    connection.onDataChannel.subscribe((channel) => this.#chat(channel));
    const track = new MediaStreamTrack({ kind: 'audio' });
    connection.addTrack(track);
    this.#speak(track, [...sizes, PAYLOAD]);
    if (!caller) return;
    this.#chat(connection.createDataChannel('data'));
    await this.#describe(await connection.createOffer());
  }

  async signal(description) {
    await this.#connection.setRemoteDescription(description);
    if (!this.#caller) await this.#describe(await this.#connection.createAnswer());
  }

  async describe() {
    const { localDescription, remoteDescription, iceTransports } = this.#connection;
    const pairs = iceTransports.map((transport) => transport.connection.nominated ?? null)
      .map((pair) => [pair?.localCandidate, pair?.remoteCandidate]);
    const stats = [...(await this.#connection.getStats()).values()];
    say('description', { shown: [localDescription.sdp, remoteDescription.sdp, JSON.stringify([pairs, stats])] });
  }

  async #describe(description) {
    const connection = this.#connection;
    await connection.setLocalDescription(description);
    if (connection.iceGatheringState !== 'complete') {
      await connection.iceGatheringStateChange.watch((state) => state === 'complete', 10_000);
    }
    const { type, sdp } = connection.localDescription;
    say('signal', { type, sdp });
  }

  #speak(track, sizes) {
    let count = 0;
    const ssrc = 0x5eed;
    setInterval(() => {
      if (this.#connection.connectionState !== 'connected') return;
      const size = count % PROBE_EACH === 0 ? sizes[(count / PROBE_EACH) % sizes.length] : PAYLOAD;
      const header = new RtpHeader({ ssrc, payloadType: 0, sequenceNumber: count & 0xffff, timestamp: (count * PAYLOAD) >>> 0 });
      track.writeRtp(new RtpPacket(header, randomBytes(size)));
      this.#tally.sent('audio');
      count += 1;
    }, 20);
  }

  #chat(channel) {
    channel.onMessage.subscribe(() => this.#tally.received('data'));
    setInterval(() => {
      if (channel.readyState !== 'open') return;
      channel.send(randomBytes(200));
      this.#tally.sent('data');
    }, 100);
  }
}

const peer = new Peer();
obey({ start: (order) => peer.start(order), signal: (order) => peer.signal(order), describe: () => peer.describe() });
