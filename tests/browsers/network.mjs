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
export const RELAY6 = '2001:db8:d0a1:10::10';
export const RELAY_PORT = 3478;

// Every IPv4 address has bytes above 0x7f, plain and XORed with the STUN cookie, so that ASCII text
// can never hold one by chance; and none is the beginning of another in dotted notation.
// `public` is the NAT's address outside, `inner` inside, `private` the client's own.
const PLAN = {
  a: {
    4: { core: '198.51.100.1', public: '198.51.100.17', inner: '10.213.61.1', private: '10.213.61.23', outside: 25 },
    6: { core: '2001:db8:a9c1:17::1', public: '2001:db8:a9c1:17::2', inner: 'fd5a:61d3:9b1e:61::1', private: 'fd5a:61d3:9b1e:61::23', outside: 64 },
  },
  b: {
    4: { core: '198.51.100.129', public: '198.51.100.201', inner: '172.29.143.1', private: '172.29.143.86', outside: 25 },
    6: { core: '2001:db8:b7e5:c9::1', public: '2001:db8:b7e5:c9::2', inner: 'fdc3:8e7f:2a94:86::1', private: 'fdc3:8e7f:2a94:86::43', outside: 64 },
  },
};
const INSIDE = { 4: 24, 6: 64 };

/** The `public`, `inner` or `private` addresses of a side, of both families. */
export const addresses = (side, which) => [4, 6].map((family) => PLAN[side][family][which]);

/** Addresses that nobody but this side may ever see. */
export const secrets = (side) => ['public', 'inner', 'private'].flatMap((which) => addresses(side, which));

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
    for (const role of ['core', 'nata', 'natb']) {
      run(...this.inside(role, ['sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']));
    }
    this.#link('core', 'torelay', 'relay', 'eth0');
    this.#pair('core', 'torelay', '203.0.113.1', 'relay', 'eth0', RELAY, 24);
    this.#pair('core', 'torelay', '2001:db8:d0a1:10::1', 'relay', 'eth0', RELAY6, 64);
    for (const side of ['a', 'b']) this.#side(side);
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
    const [nat, client] = [`nat${side}`, `client${side}`];
    this.#link('core', `to${side}`, nat, 'out');
    this.#link(nat, 'in', client, 'eth0');
    for (const family of [4, 6]) {
      const { core, public: outer, inner, private: own, outside } = PLAN[side][family];
      this.#pair('core', `to${side}`, core, nat, 'out', outer, outside);
      this.#pair(nat, 'in', inner, client, 'eth0', own, INSIDE[family]);
      this.#ip('core', `route add ${own}/${family === 4 ? 32 : 128} via ${outer}`);
    }
    this.#nft(nat, `
      table inet nat {
        chain out {
          type nat hook postrouting priority srcnat
          oifname "out" masquerade random
        }
      }`);
  }

  #link(role, name, peerRole, peerName) {
    run('ip', '-n', this.name(role), 'link', 'add', name, 'type', 'veth',
      'peer', 'name', peerName, 'netns', this.name(peerRole));
    this.#ip(role, `link set ${name} up`);
    this.#ip(peerRole, `link set ${peerName} up`);
  }

  /** Addresses for both ends of a link; the far end's way out is the near end. */
  #pair(role, name, address, peerRole, peerName, peerAddress, bits) {
    this.#ip(role, `address add ${address}/${bits} dev ${name}${noDad(address)}`);
    this.#ip(peerRole, `address add ${peerAddress}/${bits} dev ${peerName}${noDad(address)}`);
    this.#ip(peerRole, `route add default via ${address}`);
  }

  #ip(role, words) {
    run('ip', '-n', this.name(role), ...words.split(' '));
  }

  #nft(role, rules) {
    const [file, ...args] = this.inside(role, ['nft', '-f', '-']);
    execFileSync(file, args, { input: rules, timeout: 10_000, stdio: ['pipe', 'ignore', 'inherit'] });
  }
}

/** IPv6 addresses are usable at once without duplicate address detection. */
const noDad = (address) => (address.includes(':') ? ' nodad' : '');

function run(file, ...args) {
  return execFileSync(file, args, { timeout: 10_000, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}
