// Child processes, each in a process group of its own with a log file, so that stopping one stops
// all it has started and a failure can show what it said last.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const running = new Set();

export class Process {
  /** With `onMessage` the process is talked to: a line of JSON each, by `tell` and to `onMessage`. */
  constructor(argv, { log, env = process.env, onMessage = null }) {
    this.log = log;
    const out = openSync(log, 'a');
    const stdio = onMessage ? ['pipe', 'pipe', out] : ['ignore', out, out];
    this.child = spawn(argv[0], argv.slice(1), { detached: true, env, stdio });
    closeSync(out);
    if (onMessage) this.#listen(onMessage);
    this.ended = new Promise((resolve) => {
      this.child.once('error', resolve);
      this.child.once('exit', resolve);
    }).finally(() => running.delete(this));
    running.add(this);
  }

  alive() {
    return running.has(this);
  }

  tell(message) {
    this.child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  text() {
    return readFileSync(this.log, 'utf8');
  }

  /** Sends `signal` to the group, and SIGKILL to what is left of it after `grace` milliseconds. */
  async stop(signal = 'SIGTERM', grace = 3000) {
    this.#kill(signal);
    await Promise.race([this.ended, delay(grace)]);
    this.#kill('SIGKILL');
    await this.ended;
  }

  /** A process that has ended is noticed by `alive`, so that writing to it is no error. */
  #listen(onMessage) {
    this.child.stdin.on('error', () => {});
    createInterface({ input: this.child.stdout }).on('line', (line) => onMessage(JSON.parse(line)));
  }

  #kill(signal) {
    if (this.child.pid === undefined) return;
    try {
      process.kill(-this.child.pid, signal);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }
}

export async function stopAll() {
  await Promise.all([...running].map((one) => one.stop('SIGKILL')));
}

/** Waits until `condition` gives something true; fails with `what` after `limit` milliseconds. */
export async function until(what, limit, condition) {
  const end = Date.now() + limit;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${limit / 1000} s`);
    await delay(50);
  }
}

/** A process that says "open" (a door) once it is ready. */
export async function opened(process, what) {
  await until(what, 5000, () => {
    if (!process.alive()) throw new Error(`${what} ended: ${process.text()}`);
    return process.text().includes('open');
  });
  return process;
}
