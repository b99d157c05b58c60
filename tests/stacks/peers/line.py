"""How a peer is talked to: a line of JSON each, orders on stdin, what it says on stdout. It ends
with its stdin, so that it never outlives the run."""

import asyncio
import json
import sys
import time
import traceback

# The event loop itself holds tasks weakly.
running = set()

def say(kind, **fields):
    print(json.dumps({"kind": kind, **fields}), flush=True)


async def obey(orders):
    """Obeys {"order": ...} by the method of that name."""
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        message = json.loads(line)
        try:
            await getattr(orders, message.pop("order"))(**message)
        except Exception:
            say("error", text=traceback.format_exc())


def spawn(coroutine):
    """Runs it beside the rest; what goes wrong in it is said."""
    task = asyncio.ensure_future(coroutine)
    running.add(task)
    task.add_done_callback(ended)


def ended(task):
    running.discard(task)
    if not task.cancelled() and task.exception():
        say("error", text="".join(traceback.format_exception(task.exception())))


class Tally:
    """What has been sent and received of each flow, and the longest time without a packet."""

    def __init__(self):
        self._flows = {}

    def sent(self, flow):
        self._flow(flow)["sent"] += 1

    def received(self, flow):
        count = self._flow(flow)
        now = time.monotonic()
        count["gap"] = max(count["gap"], now - (count["last"] or now))
        count["last"] = now
        count["received"] += 1

    async def report(self, connected):
        """Says all of it every quarter of a second; a gap that lasts counts as far as it has come."""
        while True:
            flows = {name: self._said(count) for name, count in self._flows.items()}
            say("sample", connected=connected(), flows=flows)
            await asyncio.sleep(0.25)

    @staticmethod
    def _said(count):
        now = time.monotonic()
        gap = max(count["gap"], now - (count["last"] or now))
        return {"sent": count["sent"], "received": count["received"], "gap": round(gap * 1000)}

    def _flow(self, name):
        return self._flows.setdefault(name, {"sent": 0, "received": 0, "gap": 0, "last": None})
