// What the application's backend does through the server API, as its clients notice it.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  api, channelIn, connected, entries, eventually, formats, newClient, nowSeconds, offsets, sideBySide, signed, sleep,
  subscribed, values,
} from './harness.mjs';
import { Network } from './network.mjs';

const publish = (channel, value, more = {}) => api('publish', { channel, data: value, ...more });

// A user that no other test knows.
const someone = () => channelIn('user').replace(':', '-');

for (const format of formats) {
  describe(format.name, sideBySide, () => {
    it('a client hears what the backend publishes, tags included', async () => {
      const channel = channelIn('listen');
      const room = await subscribed(format, await connected(format), channel);
      await publish(channel, { n: 1 }, { tags: { level: 'high' } });
      await eventually('it has come', () => room.publications.length === 1);
      assert.deepEqual(values(room), [{ n: 1 }]);
      assert.deepEqual({ ...room.publications[0].tags }, { level: 'high' });
    });

    it('a client with a filter gets what passes it, also of what it missed', async () => {
      const channel = channelIn('tagged');
      const network = await Network.open();
      const tagsFilter = { key: 'level', cmp: 'eq', val: 'high' };
      const room = await subscribed(format, await connected(format, {}, network.url), channel, { tagsFilter });
      const all = await subscribed(format, await connected(format), channel);
      const send = (n) => publish(channel, n, { tags: { level: n % 2 === 0 ? 'high' : 'low' } });
      for (const n of [1, 2, 3, 4]) await send(n);
      await eventually('the live ones have come', () => room.publications.length === 2);
      network.cut();
      for (const n of [5, 6, 7]) await send(n);
      network.mend();
      await eventually('it is back', () => entries(room, 'subscribed').length === 2);
      await send(8);
      await eventually('all have come', () => values(room).includes(8) && all.publications.length === 8);
      assert.deepEqual(values(room), [2, 4, 6, 8]);
      assert.deepEqual(values(all), [1, 2, 3, 4, 5, 6, 7, 8]);
    });

    it('an idempotency key is published once', async () => {
      const channel = channelIn('chat');
      const room = await subscribed(format, await connected(format), channel);
      for (let i = 0; i < 3; i += 1) await publish(channel, 'once', { idempotency_key: 'key' });
      await publish(channel, 'end');
      await eventually('the end has come', () => values(room).includes('end'));
      assert.deepEqual(values(room), ['once', 'end']);
      assert.deepEqual(offsets(room), [1, 2]);
    });

    it('the backend subscribes and unsubscribes a user', async () => {
      const [user, channel] = [someone(), channelIn('closed')];
      const client = await connected(format, { token: signed({ sub: user }) });
      await api('subscribe', { user, channel, data: { welcome: true } });
      await eventually('it is told', () => entries(client, 'subscribed').length === 1);
      assert.deepEqual(format.read(entries(client, 'subscribed')[0].data), { welcome: true });
      await publish(channel, 'hello');
      await eventually('it has come', () => entries(client, 'publication').length === 1);
      await api('unsubscribe', { user, channel });
      await eventually('it is told', () => entries(client, 'unsubscribed').length === 1);
      await publish(channel, 'anybody?');
      await sleep(200);
      assert.equal(entries(client, 'publication').length, 1);
    });

    it('the backend ends a subscription that the client made', async () => {
      const [user, channel] = [someone(), channelIn('chat')];
      const room = await subscribed(format, await connected(format, { token: signed({ sub: user }) }), channel);
      await api('unsubscribe', { user, channel });
      await eventually('it is told', () => room.state === 'unsubscribed');
      assert.equal(entries(room, 'unsubscribed')[0].code, 2000);
    });

    for (const [what, code, comesBack] of [
      ['3503', 3503, false], ['3011', 3011, true], ['4000', 4000, true], ['4500', 4500, false], ['nothing', undefined, false],
    ]) {
      it(`a client sent away with ${what} ${comesBack ? 'comes back' : 'stays away'}`, async () => {
        const user = someone();
        const client = newClient(format, { token: signed({ sub: user }) });
        client.connect();
        await client.ready();
        await api('disconnect', { user, ...(code && { disconnect: { code, reason: 'enough' } }) });
        const event = comesBack ? 'connecting' : 'disconnected';
        await eventually('it is told', () => entries(client, event).some((entry) => entry.code === (code ?? 3503)));
        await sleep(400);
        assert.equal(client.state, comesBack ? 'connected' : 'disconnected');
      });
    }

    it('the backend gives a connection more time', async () => {
      const user = someone();
      const token = signed({ sub: user, exp: nowSeconds() + 5 });
      const client = await connected(format, { token, getToken: () => new Promise(() => {}) });
      await api('refresh', { user, expire_at: nowSeconds() + 600 });
      // Longer than the token, the time after it, and the longest way to the next look at it: a ping's interval.
      await sleep(10_000);
      assert.equal(client.state, 'connected');
      assert.equal(entries(client, 'connected').length, 1);
    });
  });
}
