// One side of a call with libdatachannel (and its ICE, libjuice): data in packets of up to 1,450 bytes.
import { randomBytes } from 'node:crypto';
import { Tally, obey, say, stack } from './line.mjs';

const { PeerConnection } = stack('node-datachannel');

const MTU = 1450;
const SHORT = 200;
const LONG = 4000;
const LONG_EACH = 5;

class Peer {
  #tally = new Tally();
  #connection;
  #caller;
  #state = 'new';
  #remote = '';

  start({ caller, configuration }) {
    this.#caller = caller;
    const { iceTransportPolicy, iceServers } = configuration;
    this.#connection = new PeerConnection('peer', { iceServers: iceServers.map(server), iceTransportPolicy, mtu: MTU });
    this.#tally.report(() => this.#state === 'connected');
    this.#connection.onStateChange((state) => { this.#state = state; });
    this.#connection.onGatheringStateChange((state) => { if (state === 'complete') this.#describe(); });
    this.#connection.onDataChannel((channel) => this.#chat(channel));
    if (caller) this.#chat(this.#connection.createDataChannel('data'));
  }

  signal({ type, sdp }) {
    this.#remote = sdp;
    this.#connection.setRemoteDescription(sdp, type);
  }

  describe() {
    const { sdp } = this.#connection.localDescription();
    say('description', { shown: [sdp, this.#remote, JSON.stringify(this.#connection.getSelectedCandidatePair())] });
  }

  #describe() {
    const { type, sdp } = this.#connection.localDescription();
    say('signal', { type, sdp });
  }

  #chat(channel) {
    let count = 0;
    channel.onMessage(() => this.#tally.received('data'));
    setInterval(() => {
      if (!channel.isOpen()) return;
      channel.sendMessageBinary(randomBytes(count % LONG_EACH === 0 ? LONG : SHORT));
      this.#tally.sent('data');
      count += 1;
    }, 20);
  }
}

/** An entry of `iceServers` with its one URL, as libdatachannel wants it. */
function server({ urls: [url], username, credential }) {
  const [, hostname, port] = /^turn:(.*):(\d+)\?transport=udp$/.exec(url);
  return { hostname, port: Number(port), username, password: credential, relayType: 'TurnUdp' };
}

const peer = new Peer();
obey({ start: (order) => peer.start(order), signal: (order) => peer.signal(order), describe: () => peer.describe() });
