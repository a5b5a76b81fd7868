"""Centrifuge's Python SDK finds all as it expects, in both wire formats."""

import asyncio
import time

from centrifuge import ClientState, DeltaType, ReplyError, StreamPosition, SubscriptionState

from harness import Network, SdkTest, channel_in, signed, token


class InJson(SdkTest):
    async def test_a_token_says_who_the_client_is(self):
        channel = channel_in("chat")
        ada = await self.connected(token=token("gen", user="ada", info='{"name":"Ada"}'))
        await self.connected()
        room = await self.subscribed(ada, channel)
        [info] = (await room.presence()).clients.values()
        self.assertEqual((info.user, self.read(info.conn_info)), ("ada", {"name": "Ada"}))

    async def test_a_forged_token_is_refused_for_good(self):
        client = self.new_client(token="no-token")
        await client.connect()
        await self.eventually("it is told", lambda: client.state is ClientState.DISCONNECTED)
        self.assertEqual([context.code for context in client.diary.of("disconnected")], [3500])
        await asyncio.sleep(0.3)
        self.assertEqual(len(client.diary.of("connecting")), 1)

    async def test_an_expired_token_is_replaced_and_one_that_runs_out_is_refreshed(self):
        lifetimes = [600, 2, -60]

        async def get_token():
            return signed(sub="ada", exp=int(time.time()) + lifetimes.pop())

        # The SDK gives up its first connection over the expired token: `ready` would fail.
        client = self.new_client(get_token=get_token)
        await client.connect()
        await self.eventually("all tokens were asked for", lambda: not lifetimes)
        await asyncio.sleep(0.2)
        self.assertEqual(client.state, ClientState.CONNECTED)
        self.assertEqual(len(client.diary.of("connected")), 1)

    async def test_pings_keep_a_connection_that_has_nothing_to_say(self):
        client = await self.connected(max_server_ping_delay=1)
        await asyncio.sleep(5)
        self.assertEqual(client.state, ClientState.CONNECTED)
        self.assertEqual(len(client.diary.of("connected")), 1)

    async def test_subscribers_get_what_is_published_in_order(self):
        channel = channel_in("chat")
        ada, bob = await self.connected(token=signed(sub="ada")), await self.connected()
        rooms = [await self.subscribed(ada, channel), await self.subscribed(bob, channel)]
        sent = ["one", {"two": 2}, [3], "für 4 €", 5.5]
        await self.publish(ada, channel, sent)
        for room in rooms:
            await self.eventually("all have come", lambda: len(self.values(room)) == len(sent))
            self.assertEqual(self.values(room), sent)
            self.assertEqual(self.offsets(room), [1, 2, 3, 4, 5])
            self.assertEqual({context.pub.info.user for context in room.diary.of("publication")}, {"ada"})

    async def test_history_is_read_page_by_page_forward_and_backward(self):
        channel = channel_in("chat")
        client = await self.connected()
        await self.publish(client, channel, range(1, 11))
        epoch = (await client.history(channel)).epoch

        async def page(**options):
            publications = (await client.history(channel, **options)).publications
            self.assertEqual([self.read(pub.data) for pub in publications], [pub.offset for pub in publications])
            return [pub.offset for pub in publications]

        self.assertEqual(await page(limit=-1), list(range(1, 11)))
        self.assertEqual(await page(limit=3, since=StreamPosition(3, epoch)), [4, 5, 6])
        self.assertEqual(await page(limit=3, reverse=True), [10, 9, 8])
        self.assertEqual(await page(limit=3, since=StreamPosition(8, epoch), reverse=True), [7, 6, 5])
        with self.assertRaises(ReplyError) as refused:
            await client.history(channel, limit=3, since=StreamPosition(3, "other"))
        self.assertEqual(refused.exception.code, 112)

    async def test_presence_and_those_who_come_and_go(self):
        channel = channel_in("chat")
        ada, bob = await self.connected(token=signed(sub="ada")), await self.connected(token=signed(sub="bob"))
        room = await self.subscribed(ada, channel, join_leave=True)
        await self.subscribed(bob, channel)
        stats = await room.presence_stats()
        self.assertEqual((stats.num_clients, stats.num_users), (2, 2))
        await bob.disconnect()
        await self.eventually("Bob has gone", lambda: room.diary.of("leave"))
        self.assertIn("bob", [context.info.user for context in room.diary.of("join")])
        self.assertEqual([context.info.user for context in room.diary.of("leave")], ["bob"])

    async def test_refusals_name_their_reason(self):
        client = await self.connected()
        for channel, code in [(channel_in("unknown"), 102), (channel_in("closed"), 103), (channel_in("$chat"), 103)]:
            diary = await self.refused(client, channel)
            self.assertEqual([context.code for context in diary.of("unsubscribed")], [code], channel)
        with self.assertRaises(ReplyError) as refused:
            await client.rpc("method", self.write({}))
        self.assertEqual(refused.exception.code, 108)
        self.assertEqual(client.state, ClientState.CONNECTED)

    async def refused(self, client, channel, **options):
        waiting = asyncio.ensure_future(self.subscribed(client, channel, **options))
        await asyncio.wait([waiting])
        waiting.exception()
        subscription = client.get_subscription(channel)
        self.assertIs(subscription.state, SubscriptionState.UNSUBSCRIBED)
        return subscription.diary

    async def test_a_private_channel_opens_to_its_token(self):
        channel = channel_in("$closed")
        ada = await self.connected(token=token("gen", user="ada"))

        async def get_token(_channel):
            return token("sub", user="ada", channel=channel)

        room = await self.subscribed(ada, channel, get_token=get_token)
        self.assertEqual((await room.presence_stats()).num_clients, 1)

    async def test_a_dropped_network_costs_nothing(self):
        channel = channel_in("chat")
        network = await Network.open(self)
        client, other = await self.connected(network.url), await self.connected()
        room = await self.subscribed(client, channel, recoverable=True)
        for first in range(1, 22, 7):
            await self.publish(other, channel, [first, first + 1])
            await self.eventually("the live ones have come", lambda: len(self.values(room)) == first + 1)
            network.cut()
            await self.publish(other, channel, [first + 2, first + 3, first + 4])
            network.mend()
            await self.publish(other, channel, [first + 5, first + 6])
            await self.eventually("all have come", lambda: len(self.values(room)) >= first + 6)
        self.assertEqual(self.values(room), list(range(1, 22)))
        self.assertEqual(self.offsets(room), list(range(1, 22)))
        self.assertTrue(all(context.recovered for context in room.diary.of("subscribed")[1:]))

    async def test_who_was_away_for_too_long_is_told_so(self):
        channel = channel_in("brief")
        network = await Network.open(self)
        client, other = await self.connected(network.url), await self.connected()
        room = await self.subscribed(client, channel)
        network.cut()
        await self.publish(other, channel, range(1, 7))
        network.mend()
        await self.eventually("it is back", lambda: len(room.diary.of("subscribed")) == 2)
        again = room.diary.of("subscribed")[1]
        self.assertEqual((again.was_recovering, again.recovered), (True, False))
        await self.publish(other, channel, [7])
        await self.eventually("the next has come", lambda: self.values(room))
        self.assertEqual(self.offsets(room), [7])

    async def test_publications_go_out_as_differences(self):
        channel = channel_in("delta")
        client = await self.connected()
        room = await self.subscribed(client, channel, delta=DeltaType.FOSSIL)
        sent = [{"text": "Only the number changes. " * 20, "n": n} for n in range(20)] + ["another", 7]
        await self.publish(client, channel, sent)
        await self.eventually("all have come", lambda: len(self.values(room)) == len(sent))
        self.assertEqual(self.values(room), sent)

    async def test_the_server_subscribes_whom_a_token_subscribes(self):
        channel = channel_in("chat")
        client = await self.connected(token=token("gen", user="ada", channels=channel))
        other = await self.connected()
        await self.publish(other, channel, ["hello"])
        await self.eventually("it has come", lambda: client.diary.of("publication"))
        [context] = client.diary.of("publication")
        self.assertEqual((context.channel, self.read(context.pub.data)), (channel, "hello"))


class InProtobuf(InJson):
    use_protobuf = True
