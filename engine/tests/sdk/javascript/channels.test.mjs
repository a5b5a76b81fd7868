// What a client may do in channels: listen, publish, look back, see others; and what it is told where it may not.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  channelIn, connected, entries, eventually, failsWith, formats, newSubscription, nowSeconds, offsets, sideBySide, signed,
  sleep, subscribed, token, values,
} from './harness.mjs';

const refused = async (format, client, channel, options) => {
  const subscription = newSubscription(format, client, channel, options);
  subscription.subscribe();
  await eventually('the subscription is refused', () => subscription.state === 'unsubscribed');
  return entries(subscription, 'unsubscribed')[0].code;
};

const publish = async (format, client, channel, list) => {
  for (const value of list) await client.publish(channel, format.write(value));
};

for (const format of formats) {
  describe(format.name, sideBySide, () => {
    it('all subscribers get what is published, in order, with who published it', async () => {
      const channel = channelIn('chat');
      const [ada, bob] = [await connected(format, { token: signed({ sub: 'ada' }) }), await connected(format)];
      const rooms = [await subscribed(format, ada, channel), await subscribed(format, bob, channel)];
      const sent = ['one', { two: 2 }, [3], 'für 4 €', 5.5];
      await publish(format, ada, channel, sent);
      for (const room of rooms) {
        await eventually('all have come', () => room.publications.length === sent.length);
        assert.deepEqual(values(room), sent);
        assert.deepEqual(offsets(room), [1, 2, 3, 4, 5]);
        assert.ok(room.publications.every(({ info }) => info.user === 'ada'));
      }
    });

    it('who has unsubscribed hears nothing more, and may come back', async () => {
      const channel = channelIn('chat');
      const [client, other] = [await connected(format), await connected(format)];
      const room = await subscribed(format, client, channel);
      await publish(format, other, channel, ['first']);
      await eventually('it has come', () => room.publications.length === 1);
      room.unsubscribe();
      assert.equal(entries(room, 'unsubscribed')[0].code, 0);
      await client.presenceStats(channel);
      await publish(format, other, channel, ['second']);
      room.subscribe();
      await room.ready();
      await publish(format, other, channel, ['third']);
      await eventually('the third has come', () => values(room).includes('third'));
      assert.deepEqual(values(room), ['first', 'third']);
    });

    it('a change of mind within one moment ends as the last word says', async () => {
      const channel = channelIn('chat');
      const client = await connected(format);
      const room = newSubscription(format, client, channel);
      for (let i = 0; i < 5; i += 1) {
        room.subscribe();
        room.unsubscribe();
      }
      room.subscribe();
      await room.ready(60_000);
      await publish(format, client, channel, ['here']);
      await eventually('it is heard', () => room.publications.length === 1);
      assert.equal((await room.presenceStats()).numClients, 1);
      await sleep(200);
      assert.equal(room.publications.length, 1);
      assert.deepEqual(entries(client, 'error'), []);
    });

    it('history is read page by page, forward and backward', async () => {
      const channel = channelIn('chat');
      const client = await connected(format);
      await publish(format, client, channel, [...Array(10).keys()].map((i) => i + 1));
      const page = async (options) => {
        const { publications } = await client.history(channel, options);
        for (const { data, offset } of publications) assert.equal(format.read(data), Number(offset));
        return publications.map(({ offset }) => Number(offset));
      };
      const { offset, epoch, publications } = await client.history(channel, { limit: 0 });
      assert.deepEqual([Number(offset), publications], [10, []]);
      assert.deepEqual(await page({ limit: -1 }), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      assert.deepEqual(await page({ limit: 3 }), [1, 2, 3]);
      assert.deepEqual(await page({ limit: 3, since: { offset: 3, epoch } }), [4, 5, 6]);
      assert.deepEqual(await page({ limit: 3, since: { offset: 9, epoch } }), [10]);
      assert.deepEqual(await page({ limit: 3, reverse: true }), [10, 9, 8]);
      assert.deepEqual(await page({ limit: 3, since: { offset: 8, epoch }, reverse: true }), [7, 6, 5]);
      await failsWith(112, client.history(channel, { limit: 3, since: { offset: 3, epoch: 'other' } }));
    });

    it('presence knows who is there, and counts users once', async () => {
      const channel = channelIn('chat');
      const of = (sub) => connected(format, { token: signed({ sub, info: { name: sub } }) });
      const clients = [await of('ada'), await of('ada'), await of('bob')];
      const [room] = await Promise.all(clients.map((client) => subscribed(format, client, channel)));
      const present = Object.values((await room.presence()).clients);
      assert.deepEqual(present.map(({ user }) => user).sort(), ['ada', 'ada', 'bob']);
      assert.ok(present.every(({ user, connInfo }) => format.read(connInfo).name === user));
      assert.deepEqual(await room.presenceStats(), { numClients: 3, numUsers: 2 });
      clients[2].disconnect();
      for (let stats; stats?.numClients !== 2;) stats = await room.presenceStats();
    });

    it('who asks is told who comes and goes', async () => {
      const channel = channelIn('chat');
      const [ada, bob] = [await connected(format), await connected(format, { token: signed({ sub: 'bob' }) })];
      const room = await subscribed(format, ada, channel, { joinLeave: true });
      const quiet = await subscribed(format, ada, channelIn('chat'));
      await subscribed(format, bob, channel);
      const users = (event) => entries(room, event).map(({ info }) => info.user || 'anonymous');
      await eventually('Bob has come', () => users('join').includes('bob'));
      bob.disconnect();
      await eventually('Bob has gone', () => users('leave').includes('bob'));
      assert.deepEqual(users('leave'), ['bob']);
      assert.deepEqual([entries(quiet, 'join'), entries(quiet, 'leave')], [[], []]);
    });

    it('refusals name their reason', async () => {
      const client = await connected(format);
      assert.equal(await refused(format, client, channelIn('unknown')), 102);
      assert.equal(await refused(format, client, channelIn('closed')), 103);
      assert.equal(await refused(format, client, channelIn('$chat')), 103);
      assert.equal(await refused(format, client, 'without-namespace'), 103);
      const listen = channelIn('listen');
      await subscribed(format, client, listen);
      await failsWith(103, client.publish(listen, format.write(1)));
      await failsWith(108, client.history(listen, { limit: 1 }));
      await failsWith(108, client.presence(listen));
      await failsWith(102, client.publish(channelIn('unknown'), format.write(1)));
      assert.equal(client.state, 'connected');
    });

    it('a client may be in 128 channels, not in one more', async () => {
      const client = await connected(format);
      const rooms = await Promise.all([...Array(128)].map(() => subscribed(format, client, channelIn('chat'))));
      assert.equal(await refused(format, client, channelIn('chat')), 106);
      rooms[0].unsubscribe();
      await subscribed(format, client, channelIn('chat'));
    });

    it('a user-limited channel is for the users in its name', async () => {
      const channel = `${channelIn('dialog')}#ada,bob`;
      const of = (sub) => connected(format, { token: signed({ sub }) });
      const [ada, bob, eve] = [await of('ada'), await of('bob'), await of('eve')];
      const rooms = [await subscribed(format, ada, channel), await subscribed(format, bob, channel)];
      assert.equal(await refused(format, eve, channel), 103);
      assert.equal(await refused(format, await connected(format), channel), 103);
      await failsWith(103, eve.publish(channel, format.write('hello')));
      await publish(format, ada, channel, ['hello']);
      await eventually('it has come', () => rooms[1].publications.length === 1);
    });

    it('a private channel opens to a token for this user and this channel', async () => {
      const channel = channelIn('$closed');
      const ada = await connected(format, { token: token('gen', { user: 'ada' }) });
      const own = token('sub', { user: 'ada', channel, info: '{"role":"host"}' });
      const room = await subscribed(format, ada, channel, { token: own });
      const [info] = Object.values((await room.presence()).clients);
      assert.deepEqual(format.read(info.chanInfo), { role: 'host' });
    });

    it('a forged subscription token is refused, and with that of somebody else one is sent away for good', async () => {
      const channel = channelIn('$closed');
      const eve = await connected(format, { token: signed({ sub: 'eve' }) });
      for (const how of [{ secret: 'another' }, { algorithm: 'none' }]) {
        const forged = signed({ sub: 'eve', channel }, how);
        assert.equal(await refused(format, eve, channel, { token: forged }), 103);
        eve.removeSubscription(eve.getSubscription(channel));
      }
      for (const claims of [{ sub: 'ada', channel }, { sub: 'eve', channel: channelIn('$closed') }]) {
        const other = await connected(format, { token: signed({ sub: 'eve' }) });
        newSubscription(format, other, channel, { token: signed(claims) }).subscribe();
        await eventually('she is told', () => other.state === 'disconnected');
        assert.equal(entries(other, 'disconnected')[0].code, 3500);
      }
    });

    it('an expired subscription token is replaced, and one that runs out is refreshed', async () => {
      const channel = channelIn('closed');
      const client = await connected(format, { token: signed({ sub: 'ada' }) });
      const lifetimes = [600, 2, -60];
      const getToken = async () => signed({ sub: 'ada', channel, exp: nowSeconds() + lifetimes.pop() });
      const room = await subscribed(format, client, channel, { getToken });
      await eventually('all tokens were asked for', () => lifetimes.length === 0);
      await sleep(2_500);
      assert.equal(room.state, 'subscribed');
      assert.equal(entries(room, 'subscribed').length, 1);
    });

    it('a subscription whose token is not refreshed ends, and the SDK subscribes again', async () => {
      const channel = channelIn('closed');
      const client = await connected(format, { token: signed({ sub: 'ada' }) });
      const tokens = [signed({ sub: 'ada', channel, exp: nowSeconds() + 3 })];
      const getToken = async () => tokens.pop() ?? sleep(8_000).then(() => signed({ sub: 'ada', channel }));
      const room = await subscribed(format, client, channel, { getToken });
      await eventually('it has ended', () => entries(room, 'subscribing').length === 2);
      assert.equal(entries(room, 'subscribing')[1].code, 2501);
      await eventually('it is made again', () => entries(room, 'subscribed').length === 2);
      assert.equal(entries(client, 'connected').length, 1);
    });

    it('a filter that a channel does not allow is refused, and one that means nothing too', async () => {
      const client = await connected(format);
      const filter = { key: 'level', cmp: 'eq', val: 'high' };
      assert.equal(await refused(format, client, channelIn('chat'), { tagsFilter: filter }), 107);
      assert.equal(await refused(format, client, channelIn('tagged'), { tagsFilter: { key: 'level', cmp: 'like' } }), 107);
      await subscribed(format, client, channelIn('tagged'), { tagsFilter: filter });
    });

    it('the server subscribes whom a connection token subscribes', async () => {
      const channels = [channelIn('chat'), channelIn('brief')];
      const own = token('gen', { user: 'ada', channels: channels.join(',') });
      const client = await connected(format, { token: own });
      await eventually('both are told', () => entries(client, 'subscribed').length === 2);
      assert.deepEqual(entries(client, 'subscribed').map(({ channel }) => channel).sort(), [...channels].sort());
      const other = await connected(format);
      for (const channel of channels) await publish(format, other, channel, ['hello']);
      await eventually('both have come', () => entries(client, 'publication').length === 2);
      const came = entries(client, 'publication').map(({ channel, data }) => [channel, format.read(data)]);
      assert.deepEqual(came, channels.map((channel) => [channel, 'hello']));
    });

    it('a token may say more of its subscriptions', async () => {
      const channel = channelIn('chat');
      const subs = { [channel]: { info: { role: 'host' }, data: { welcome: true }, override: { force_recovery: { value: true } } } };
      const client = await connected(format, { token: signed({ sub: 'ada', subs }) });
      const [made] = entries(client, 'subscribed');
      const [info] = Object.values((await client.presence(channel)).clients);
      assert.deepEqual(format.read(info.chanInfo), { role: 'host' });
      assert.deepEqual(format.read(made.data), { welcome: true });
      assert.equal(made.recoverable, true);
    });
  });
}
