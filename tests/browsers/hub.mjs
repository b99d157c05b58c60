// One side's web server and signalling line. It listens on a unix socket; a door inside the
// client's namespace gives the browser http://127.0.0.1:PORT, which is a secure context.
//   GET /        the page      GET /events   messages to the page (server-sent events)
//   POST /send   an array of messages from the page
import http from 'node:http';
import { readFileSync } from 'node:fs';

const PAGE = new URL('./page/', import.meta.url);
const FILES = {
  '/': ['index.html', 'text/html'],
  '/call.js': ['call.js', 'text/javascript'],
};
const LARGEST_BODY = 4 << 20;

export class Side {
  #events = null;
  #waiting = [];

  /** `onMessage` hears every message of the page, in order. */
  constructor(onMessage) {
    this.onMessage = onMessage;
    this.server = http.createServer((request, response) => this.#serve(request, response));
  }

  listen(path) {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(path, resolve);
    });
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }

  /** Sends a message to the page, or keeps it until the page has connected. */
  send(message) {
    if (this.#events === null) this.#waiting.push(message);
    else this.#events.write(`data: ${JSON.stringify(message)}\n\n`);
  }

  #serve(request, response) {
    if (request.method === 'POST' && request.url === '/send') return this.#receive(request, response);
    if (request.url === '/events') return this.#subscribe(response);
    const file = FILES[request.url];
    if (!file) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': file[1], 'cache-control': 'no-store' });
    return response.end(readFileSync(new URL(file[0], PAGE)));
  }

  #subscribe(response) {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.flushHeaders();
    this.#events = response;
    for (const message of this.#waiting.splice(0)) this.send(message);
  }

  #receive(request, response) {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk) => {
      body += chunk;
      if (body.length > LARGEST_BODY) request.destroy();
    });
    request.on('end', () => {
      for (const message of JSON.parse(body)) this.onMessage(message);
      response.writeHead(204).end();
    });
  }
}
