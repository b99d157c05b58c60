// A door between two namespaces: accepts on one address and pipes every connection to another.
// An address is a TCP port of 127.0.0.1 or the path of a unix socket (those cross namespaces).
//   node door.mjs LISTEN CONNECT
import net from 'node:net';

const place = (word) => (/^\d+$/.test(word) ? { port: Number(word), host: '127.0.0.1' } : { path: word });
const [inside, outside] = process.argv.slice(2).map(place);

net.createServer((near) => {
  const far = net.connect(outside);
  for (const [one, other] of [[near, far], [far, near]]) {
    one.pipe(other);
    one.on('error', () => other.destroy());
    one.on('close', () => other.destroy());
  }
}).listen(inside, () => console.log('open'));
