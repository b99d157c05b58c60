// The network of the test: two clients behind a NAT each, a relay, and a core router between them.
//
//   clientA -- natA --+
//                     core -- relay
//   clientB -- natB --+
//
// The core has a route to everything, private networks included, so the one thing that keeps the
// clients apart is its rule between the interfaces `toa` and `tob`: it counts every packet, and drops
// it except in the positive control. Every namespace's name starts with the run's own prefix;
// `run.sh` deletes them by it.
import { execFileSync } from 'node:child_process';

export const RELAY = '203.0.113.10';
export const RELAY_PORT = 3478;

// Every address has bytes above 0x7f, plain and XORed with the STUN cookie, so that ASCII text can
// never hold one by chance; and none is the beginning of another in dotted notation.
export const SIDES = {
  a: { public: '198.51.100.17', inner: '10.213.61.1', private: '10.213.61.23', core: '198.51.100.1' },
  b: { public: '198.51.100.201', inner: '172.29.143.1', private: '172.29.143.86', core: '198.51.100.129' },
};

/** Addresses that nobody but this side may ever see. */
export const secrets = (side) => [SIDES[side].public, SIDES[side].private, SIDES[side].inner];

export class Network {
  constructor(prefix) {
    this.prefix = prefix;
  }

  name(role) {
    return `${this.prefix}-${role}`;
  }

  /** Command line that runs `argv` inside the namespace of `role`. */
  inside(role, argv) {
    return ['ip', 'netns', 'exec', this.name(role), ...argv];
  }

  up() {
    for (const role of ['core', 'relay', 'nata', 'clienta', 'natb', 'clientb']) {
      run('ip', 'netns', 'add', this.name(role));
      this.#ip(role, 'link set lo up');
    }
    this.#link('core', 'torelay', '203.0.113.1/24', 'relay', 'eth0', `${RELAY}/24`);
    this.#ip('relay', 'route add default via 203.0.113.1');
    for (const side of ['a', 'b']) this.#side(side);
    this.#exec('core', 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
    this.separate(true);
  }

  /** Drops (true) or lets pass (false) what goes from client to client; counts from zero. */
  separate(apart) {
    const verdict = apart ? 'drop' : 'accept';
    this.#nft('core', `
      add table inet between
      delete table inet between
      table inet between {
        counter crossed { }
        chain forward {
          type filter hook forward priority 0;
          iifname "toa" oifname "tob" counter name crossed ${verdict}
          iifname "tob" oifname "toa" counter name crossed ${verdict}
        }
      }`);
  }

  /** Packets that tried to go from client to client since `separate`. */
  crossed() {
    const text = run(...this.inside('core', ['nft', '-j', 'list', 'counter', 'inet', 'between', 'crossed']));
    return JSON.parse(text).nftables.find((entry) => entry.counter).counter.packets;
  }

  #side(side) {
    const { public: outer, inner, private: own, core } = SIDES[side];
    const [nat, client] = [`nat${side}`, `client${side}`];
    this.#link('core', `to${side}`, `${core}/25`, nat, 'out', `${outer}/25`);
    this.#link(nat, 'in', `${inner}/24`, client, 'eth0', `${own}/24`);
    this.#ip(nat, `route add default via ${core}`);
    this.#ip(client, `route add default via ${inner}`);
    this.#ip('core', `route add ${network(inner)} via ${outer}`);
    this.#exec(nat, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
    this.#nft(nat, `
      table ip nat {
        chain out {
          type nat hook postrouting priority srcnat
          oifname "out" masquerade random
        }
      }`);
  }

  #link(role, name, address, peerRole, peerName, peerAddress) {
    run('ip', '-n', this.name(role), 'link', 'add', name, 'type', 'veth',
      'peer', 'name', peerName, 'netns', this.name(peerRole));
    for (const [r, n, a] of [[role, name, address], [peerRole, peerName, peerAddress]]) {
      this.#ip(r, `address add ${a} dev ${n}`);
      this.#ip(r, `link set ${n} up`);
    }
  }

  #ip(role, words) {
    run('ip', '-n', this.name(role), ...words.split(' '));
  }

  #exec(role, ...argv) {
    run(...this.inside(role, argv));
  }

  #nft(role, rules) {
    const [file, ...args] = this.inside(role, ['nft', '-f', '-']);
    execFileSync(file, args, { input: rules, timeout: 10_000, stdio: ['pipe', 'ignore', 'inherit'] });
  }
}

const network = (gateway) => gateway.replace(/\.\d+$/, '.0/24');

function run(file, ...args) {
  return execFileSync(file, args, { timeout: 10_000, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}
