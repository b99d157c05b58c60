"""One side of a call with aioice: bare ICE, datagrams that look like RTP, of every size asked for."""

import asyncio
import itertools
import os

import aioice
from aiortc.rtcicetransport import parse_stun_turn_uri
from line import Tally, obey, say, spawn

PAYLOAD = 160
# Every so many packets one of another size.
PROBE_EACH = 5


class Peer:
    def __init__(self):
        self._tally = Tally()
        self._connected = False
        self._shown = []

    async def start(self, caller, configuration, sizes=(), **_):
        self._caller = caller
        self._sizes = itertools.cycle([*sizes, PAYLOAD])
        relay_only = configuration["iceTransportPolicy"] == "relay"
        policy = aioice.TransportPolicy.RELAY if relay_only else aioice.TransportPolicy.ALL
        self._ice = aioice.Connection(
            ice_controlling=caller, transport_policy=policy, **server(configuration)
        )
        spawn(self._tally.report(lambda: self._connected))
        if caller:
            await self._offer()

    async def signal(self, username, password, candidates):
        self._shown += candidates
        self._ice.remote_username = username
        self._ice.remote_password = password
        for candidate in candidates:
            await self._ice.add_remote_candidate(aioice.Candidate.from_sdp(candidate))
        await self._ice.add_remote_candidate(None)
        if not self._caller:
            await self._offer()
        spawn(self._talk())

    async def describe(self):
        pair = self._ice._nominated.get(1)
        say("description", shown=[*self._shown, repr(pair), *map(repr, self._ice._check_list)])

    async def _offer(self):
        await self._ice.gather_candidates()
        candidates = [candidate.to_sdp() for candidate in self._ice.local_candidates]
        self._shown += candidates
        say(
            "signal",
            username=self._ice.local_username,
            password=self._ice.local_password,
            candidates=candidates,
        )

    async def _talk(self):
        await self._ice.connect()
        self._connected = True
        spawn(self._listen())
        for number in itertools.count():
            size = next(self._sizes) if number % PROBE_EACH == 0 else PAYLOAD
            await self._ice.send(b"\x80\x00" + os.urandom(size - 2))
            self._tally.sent("datagrams")
            await asyncio.sleep(0.02)

    async def _listen(self):
        while True:
            await self._ice.recv()
            self._tally.received("datagrams")


def server(configuration):
    """What aioice wants to know of the TURN server, whose IPv6 literals aiortc can't read."""
    entry = configuration["iceServers"][0]
    [url] = entry["urls"]
    uri, _, rest = url.partition("[")
    host, _, rest = rest.partition("]")
    parsed = parse_stun_turn_uri(f"{uri}ipv6{rest}" if host else url)
    return {
        "turn_server": (host or parsed["host"], parsed["port"]),
        "turn_transport": parsed["transport"],
        "turn_username": entry["username"],
        "turn_password": entry["credential"],
    }


asyncio.run(obey(Peer()))
