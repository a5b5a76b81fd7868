"""Harness: what every test of the Python SDK needs.

In:  the daemon's address, binary and configuration, from the environment (engine/tests/sdk sets it).
Out: clients and subscriptions that keep diaries, tokens, channels of one's own, waiting for what must come to pass.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import secrets
import subprocess
import time
import unittest

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler

URL = os.environ["SDK_URL"]
SECRET = b"for-tests-only"
PATIENCE_S = 60


class Diary:
    """What happened, as (event, context)."""

    def __init__(self):
        self.entries = []

    def of(self, event):
        return [context for name, context in self.entries if name == event]


def keeping_diary(handler):
    """A class of handlers that write every call down."""

    def note(event):
        async def called(self, context):
            self.entries.append((event, context))

        return called

    events = [name for name in vars(handler) if name.startswith("on_")]
    return type(handler.__name__, (Diary, handler), {name: note(name[3:]) for name in events})


ClientDiary = keeping_diary(ClientEventHandler)
SubscriptionDiary = keeping_diary(SubscriptionEventHandler)


class SdkTest(unittest.IsolatedAsyncioTestCase):
    """A test that runs in one wire format; subclasses say which."""

    use_protobuf = False

    def write(self, value):
        return json.dumps(value).encode() if self.use_protobuf else value

    def read(self, data):
        return json.loads(data) if self.use_protobuf else data

    def new_client(self, url=URL, **options):
        delays = {"min_reconnect_delay": 0.05, "max_reconnect_delay": 0.2, "proxy": None}
        client = Client(url, events=ClientDiary(), use_protobuf=self.use_protobuf, **delays, **options)
        client.diary = client.events
        self.addAsyncCleanup(client.disconnect)
        return client

    async def connected(self, url=URL, **options):
        client = self.new_client(url, **options)
        await client.connect()
        await client.ready(PATIENCE_S)
        return client

    async def subscribed(self, client, channel, **options):
        diary = SubscriptionDiary()
        subscription = client.new_subscription(channel, events=diary, **options)
        subscription.diary = diary
        await subscription.subscribe()
        await subscription.ready(PATIENCE_S)
        return subscription

    def values(self, subscription):
        return [self.read(context.pub.data) for context in subscription.diary.of("publication")]

    def offsets(self, subscription):
        return [context.pub.offset for context in subscription.diary.of("publication")]

    async def publish(self, client, channel, values):
        for value in values:
            await client.publish(channel, self.write(value))

    async def eventually(self, what, is_so):
        began = time.monotonic()
        while not is_so():
            self.assertLess(time.monotonic() - began, PATIENCE_S, f"this never came to pass: {what}")
            await asyncio.sleep(0.005)


def channel_in(namespace):
    """A channel that no other test uses."""
    return f"{namespace}:{secrets.token_hex(6)}"


def token(command, **flags):
    """A token as an operator makes it: `holdfast token gen` or `holdfast token sub`."""
    arguments = [os.environ["SDK_HOLDFAST"], "token", command, "--config", os.environ["SDK_CONFIG"]]
    for name, value in flags.items():
        arguments += [f"--{name}", value]
    return subprocess.run(arguments, capture_output=True, check=True, text=True).stdout.strip()


def signed(**claims):
    """A token as a backend makes it, also one that `holdfast token` refuses to make."""

    def part(content):
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    body = b".".join(part(json.dumps(content).encode()) for content in ({"alg": "HS256"}, claims))
    return b".".join((body, part(hmac.digest(SECRET, body, hashlib.sha256)))).decode()


class Network:
    """A TCP proxy between the SDK and the daemon, which a test can cut and mend."""

    def __init__(self):
        self.is_cut = False
        self.writers = set()

    @classmethod
    async def open(cls, test):
        network = cls()
        server = await asyncio.start_server(network.join, "127.0.0.1", 0)
        test.addCleanup(server.close)
        test.addCleanup(network.cut)
        address, port = server.sockets[0].getsockname()
        network.url = f"ws://{address}:{port}/connection/websocket"
        return network

    def cut(self):
        self.is_cut = True
        for writer in self.writers:
            writer.transport.abort()

    def mend(self):
        self.is_cut = False

    async def join(self, near_reader, near_writer):
        if self.is_cut:
            near_writer.transport.abort()
            return
        address, port = URL.split("/")[2].split(":")
        far_reader, far_writer = await asyncio.open_connection(address, int(port))
        pair = {near_writer, far_writer}
        self.writers |= pair
        await asyncio.gather(self.carry(near_reader, far_writer), self.carry(far_reader, near_writer))
        self.writers -= pair

    @staticmethod
    async def carry(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()
