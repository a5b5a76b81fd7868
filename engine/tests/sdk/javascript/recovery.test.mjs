// What a client that comes back is told: all that it missed, once and in order; or that this is no longer possible.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  api, channelIn, connected, entries, eventually, formats, newSubscription, offsets, sideBySide, signed, subscribed,
  values,
} from './harness.mjs';
import { Network } from './network.mjs';

const upTo = (count, first = 1) => Array.from({ length: count - first + 1 }, (_, i) => i + first);

const publish = async (format, client, channel, list) => {
  for (const value of list) await client.publish(channel, format.write(value));
};

// A client behind a network of its own, and another that is not.
async function pair(format, options) {
  const network = await Network.open();
  return { network, client: await connected(format, options, network.url), other: await connected(format) };
}

const isBack = (client) => eventually('it is back', () => entries(client, 'connected').length > 1 && client.state === 'connected');

for (const format of formats) {
  describe(format.name, sideBySide, () => {
    it('a dropped network costs nothing: nothing is missed, nothing comes twice', async () => {
      const channel = channelIn('chat');
      const { network, client, other } = await pair(format);
      const room = await subscribed(format, client, channel, { recoverable: true });
      let next = 1;
      for (let round = 0; round < 5; round += 1) {
        await publish(format, other, channel, [next, next + 1]);
        await eventually('the live ones have come', () => room.publications.length === next + 1);
        network.cut();
        await publish(format, other, channel, [next + 2, next + 3, next + 4]);
        network.mend();
        // These race with the recovery.
        await publish(format, other, channel, [next + 5, next + 6]);
        next += 7;
        await eventually('all have come', () => room.publications.length >= next - 1);
      }
      assert.deepEqual(values(room), upTo(next - 1));
      assert.deepEqual(offsets(room), upTo(next - 1));
      const comebacks = entries(room, 'subscribed').slice(1);
      assert.ok(comebacks.length >= 5 && comebacks.every(({ wasRecovering, recovered }) => wasRecovering && recovered));
    });

    it('the network may break while publications pour in', async () => {
      const channel = channelIn('storm');
      const { network, client, other } = await pair(format);
      const room = await subscribed(format, client, channel);
      const pour = publish(format, other, channel, upTo(2_000));
      for (const at of [200, 600, 1_200]) {
        await eventually(`${at} have come`, () => room.publications.length >= at);
        network.cut();
        network.mend();
      }
      await pour;
      await eventually('all have come', () => room.publications.length >= 2_000);
      assert.deepEqual(values(room), upTo(2_000));
    });

    it('who was away for too long is told so, and goes on from now', async () => {
      const channel = channelIn('brief');
      const { network, client, other } = await pair(format);
      const room = await subscribed(format, client, channel);
      await publish(format, other, channel, [1]);
      await eventually('the first has come', () => room.publications.length === 1);
      network.cut();
      await publish(format, other, channel, upTo(6, 2));
      network.mend();
      await isBack(client);
      await eventually('it is subscribed again', () => entries(room, 'subscribed').length === 2);
      const { wasRecovering, recovered, hasRecoveredPublications } = entries(room, 'subscribed')[1];
      assert.deepEqual([wasRecovering, recovered, hasRecoveredPublications], [true, false, false]);
      await publish(format, other, channel, [7]);
      await eventually('the next has come', () => room.publications.length === 2);
      assert.deepEqual(offsets(room), [1, 7]);
    });

    it('a position of another life of the channel cannot be recovered', async () => {
      const channel = channelIn('brief');
      const client = await connected(format);
      await publish(format, client, channel, [1, 2]);
      for (const since of [{ offset: 1, epoch: 'other' }, { offset: 9, epoch: '' }]) {
        const room = await subscribed(format, await connected(format), channel, { since });
        const [{ wasRecovering, recovered }] = entries(room, 'subscribed');
        assert.deepEqual([wasRecovering, recovered], [true, false]);
        assert.deepEqual(values(room), []);
      }
    });

    it('a subscription may begin in the past', async () => {
      const channel = channelIn('chat');
      const client = await connected(format);
      await publish(format, client, channel, upTo(5));
      const { epoch } = await client.history(channel, { limit: 0 });
      const room = await subscribed(format, client, channel, { recoverable: true, since: { offset: 2, epoch } });
      assert.deepEqual(values(room), [3, 4, 5]);
      const [{ recovered, hasRecoveredPublications }] = entries(room, 'subscribed');
      assert.deepEqual([recovered, hasRecoveredPublications], [true, true]);
    });

    it('a channel that recovers the newest alone gives that one', async () => {
      const channel = channelIn('newest');
      const { network, client, other } = await pair(format);
      const room = await subscribed(format, client, channel);
      await publish(format, other, channel, [1]);
      await eventually('the first has come', () => room.publications.length === 1);
      network.cut();
      await publish(format, other, channel, [2, 3, 4]);
      network.mend();
      await eventually('the newest has come', () => room.publications.length === 2);
      assert.deepEqual(offsets(room), [1, 4]);
      assert.equal(entries(room, 'subscribed')[1].recovered, true);
    });

    it('a subscription that the server made is recovered too', async () => {
      const channel = channelIn('brief');
      const token = signed({ sub: 'ada', channels: [channel] });
      const { network, client, other } = await pair(format, { token });
      const came = () => entries(client, 'publication').map(({ data }) => format.read(data));
      await publish(format, other, channel, [1]);
      await eventually('the first has come', () => came().length === 1);
      network.cut();
      await publish(format, other, channel, [2, 3]);
      network.mend();
      await publish(format, other, channel, [4]);
      await eventually('all have come', () => came().length >= 4);
      assert.deepEqual(came(), [1, 2, 3, 4]);
      const [, again] = entries(client, 'subscribed');
      assert.deepEqual([again.wasRecovering, again.recovered], [true, true]);
    });

    it('publications go out as differences to those who agree, across a dropped network', async () => {
      const channel = channelIn('delta');
      const { network, client, other } = await pair(format);
      const state = (n) => ({ text: 'Nothing of this long text changes, only the number does. '.repeat(20), n, last: n % 7 });
      const room = newSubscription(format, client, channel, { delta: 'fossil' });
      const before = network.receivedBytes;
      room.subscribe();
      await room.ready();
      const plain = await subscribed(format, other, channel);
      for (let n = 1; n <= 20; n += 1) await publish(format, other, channel, [state(n)]);
      await eventually('all have come', () => room.publications.length === 20);
      const received = network.receivedBytes - before;
      assert.ok(received < 10 * JSON.stringify(state(1)).length, `${received} bytes are no differences`);
      network.cut();
      for (let n = 21; n <= 25; n += 1) await publish(format, other, channel, [state(n)]);
      network.mend();
      for (let n = 26; n <= 30; n += 1) await publish(format, other, channel, [state(n)]);
      await eventually('all have come', () => room.publications.length >= 30 && plain.publications.length >= 30);
      assert.deepEqual(values(room), upTo(30).map(state));
      assert.deepEqual(values(plain), upTo(30).map(state));
    });

    it('a difference is one to what came last, whether or not that was kept', async () => {
      const channel = channelIn('patched');
      const { network, client, other } = await pair(format);
      // Of its own is what the two before have not: a difference to one of them is none to the other.
      const own = (n) => `${'abc'[n % 3].repeat(40 + 11 * (n % 3))} comes back with every third one. `;
      const state = (n) => ({ own: own(n), text: 'Nothing of this long text changes, only the number does. '.repeat(20), n });
      const room = await subscribed(format, client, channel, { delta: 'fossil' });
      const plain = await subscribed(format, other, channel);
      let n = 0;
      const say = (options) => api('publish', { channel, data: state(n += 1), ...options });
      const [kept, skipped] = [{ delta: true }, { delta: true, skip_history: true }];
      const came = (subscription, until) => eventually(`${until} has come`, () => values(subscription).at(-1)?.n === until);
      const isEmpty = async () => !(await api('history', { channel, limit: 10 })).publications?.length;
      for (const options of [kept, skipped, kept, kept, skipped, skipped, kept, {}, kept, { skip_history: true }, kept]) {
        await say(options);
      }
      await eventually('the history has expired', isEmpty);
      for (const options of [kept, skipped, kept]) await say(options);
      await api('history_remove', { channel });
      for (const options of [kept, kept]) await say(options);
      await came(room, n);
      assert.deepEqual(values(room), upTo(n).map(state));
      await came(plain, n);
      for (const missed of [[kept, skipped], [skipped], [skipped, kept], []]) {
        network.cut();
        for (const options of missed) await say(options);
        const before = entries(room, 'subscribed').length;
        network.mend();
        await eventually('it is back', () => entries(room, 'subscribed').length > before && room.state === 'subscribed');
        for (const options of [kept, skipped, kept]) await say(options);
        await came(room, n);
      }
      await came(plain, n);
      assert.deepEqual(values(plain), upTo(n).map(state));
      const numbers = values(room).map((value) => value.n);
      assert.deepEqual(values(room), numbers.map(state));
      assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b));
      assert.deepEqual(entries(client, 'error').filter(({ error }) => !/transport/.test(error.message)), []);
    });

    it('an application loads its state where it cannot be recovered, and again where that is too old', async () => {
      const channel = channelIn('brief');
      const client = await connected(format);
      await publish(format, client, channel, upTo(10));
      const states = [2, 8];
      const getState = async () => ({ offset: states.shift(), epoch: '' });
      const room = await subscribed(format, client, channel, { getState });
      await eventually('what the state lacks has come', () => room.publications.length === 2);
      assert.deepEqual([values(room), states], [[9, 10], []]);
      const [{ wasRecovering, recovered }] = entries(room, 'subscribed');
      assert.deepEqual([wasRecovering, recovered], [true, true]);
    });

    it('a cache that knows nothing claims nothing', async () => {
      const channel = channelIn('newest');
      const since = { offset: 3, epoch: 'other' };
      const before = await subscribed(format, await connected(format), channel, { since });
      assert.equal(entries(before, 'subscribed')[0].recovered, false, 'nobody has published');
      await publish(format, await connected(format), channel, [1]);
      const room = await subscribed(format, await connected(format), channel, { since });
      assert.deepEqual([entries(room, 'subscribed')[0].recovered, values(room)], [true, [1]]);
      await api('history_remove', { channel });
      const after = await subscribed(format, await connected(format), channel, { since });
      assert.deepEqual([entries(after, 'subscribed')[0].recovered, values(after)], [false, []]);
    });

    it('what has nothing in common goes out whole, to those who take differences too', async () => {
      const channel = channelIn('delta');
      const client = await connected(format);
      const room = await subscribed(format, client, channel, { delta: 'fossil' });
      const sent = ['a', 'quite another one', { or: 'an object' }, '"quoted" \\ 漢字 \u{1F600}', 7];
      await publish(format, client, channel, sent);
      await eventually('all have come', () => room.publications.length === sent.length);
      assert.deepEqual(values(room), sent);
    });
  });
}
