"""One side of a call with aiortc: audio, video of noise (so that its packets are full) and data."""

import asyncio
import fractions
import itertools
import os
import time

import av
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack
from certificate import use_large_certificates
from line import Tally, obey, say, spawn

WIDTH, HEIGHT, FPS = 160, 120, 15
MESSAGE = 200
LONG_MESSAGE = 5000


class Noise(VideoStreamTrack):
    async def recv(self):
        if not hasattr(self, "_began"):
            self._began, self._count = time.time(), 0
        self._count += 1
        await asyncio.sleep(max(0, self._began + self._count / FPS - time.time()))
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for plane in frame.planes:
            plane.update(os.urandom(plane.buffer_size))
        frame.pts, frame.time_base = self._count, fractions.Fraction(1, FPS)
        return frame


TRACKS = {"audio": AudioStreamTrack, "video": Noise}


class Peer:
    def __init__(self):
        self._tally = Tally()

    async def start(self, caller, configuration, media=("audio", "video"), large_certificate=False, **_):
        self._caller = caller
        if large_certificate:
            use_large_certificates()
        self._connection = RTCPeerConnection(configured(configuration))
        self._connection.on("track", lambda track: spawn(self._watch(track)))
        self._connection.on("datachannel", self._open)
        for kind in media:
            self._connection.addTrack(TRACKS[kind]())
        connected = lambda: self._connection.connectionState == "connected"  # noqa: E731
        spawn(self._tally.report(connected))
        if caller:
            self._open(self._connection.createDataChannel("data"))
            await self._describe(await self._connection.createOffer())

    async def signal(self, type, sdp):
        await self._connection.setRemoteDescription(RTCSessionDescription(sdp, type))
        if not self._caller:
            await self._describe(await self._connection.createAnswer())

    async def describe(self):
        stats = await self._connection.getStats()
        descriptions = [self._connection.localDescription, self._connection.remoteDescription]
        say("description", shown=[*(each.sdp for each in descriptions), repr(stats)])

    async def _describe(self, description):
        await self._connection.setLocalDescription(description)
        local = self._connection.localDescription
        say("signal", type=local.type, sdp=local.sdp)

    async def _watch(self, track):
        while True:
            try:
                await track.recv()
            except MediaStreamError:
                return
            self._tally.received(track.kind)

    def _open(self, channel):
        channel.on("message", lambda _: self._tally.received("data"))
        spawn(self._chat(channel))

    async def _chat(self, channel):
        for number in itertools.count():
            if channel.readyState == "open":
                channel.send(os.urandom(MESSAGE if number % 10 else LONG_MESSAGE))
                self._tally.sent("data")
            await asyncio.sleep(0.1)


def configured(configuration):
    servers = [RTCIceServer(**server) for server in configuration["iceServers"]]
    return RTCConfiguration(
        iceServers=servers,
        iceTransportPolicy=RTCIceTransportPolicy(configuration["iceTransportPolicy"]),
        bundlePolicy=RTCBundlePolicy.MAX_BUNDLE,
    )


asyncio.run(obey(Peer()))
