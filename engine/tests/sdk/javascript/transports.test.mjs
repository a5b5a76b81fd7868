// The SDK without WebSocket: over HTTP streaming and server-sent events, as far as it does that in Node.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import EventSource2 from 'eventsource2';
import {
  DAEMON, api, channelIn, connected, entries, eventually, formats, httpUrl, newClient, offsets, over, sideBySide,
  signed, sleep, subscribed, values,
} from './harness.mjs';
import { Network } from './network.mjs';

const [json, protobuf] = formats;
const upTo = (count, first = 1) => Array.from({ length: count - first + 1 }, (_, i) => i + first);

const join = ({ endpoints, options }, format, more = {}) => connected(format, { ...options, ...more }, endpoints);

for (const [transport, format] of [['http_stream', json], ['http_stream', protobuf], ['sse', json]]) {
  describe(`${transport} in ${format.name}`, sideBySide, () => {
    it('connects, subscribes, publishes, hears, and asks', async () => {
      const channel = channelIn('chat');
      const client = await join(over(transport), format, { data: format.write({ any: 1 }) });
      assert.equal(entries(client, 'connected')[0].transport, transport);
      const room = await subscribed(format, client, channel);
      const other = await subscribed(format, await connected(format), channel);
      await room.publish(format.write({ text: 'one' }));
      await other.publish(format.write({ text: 'two — 二' }));
      await eventually('both have come', () => room.publications.length === 2 && other.publications.length === 2);
      assert.deepEqual(values(room), [{ text: 'one' }, { text: 'two — 二' }]);
      const { publications } = await room.history({ limit: 10 });
      assert.deepEqual(publications.map(({ data }) => format.read(data)), [{ text: 'one' }, { text: 'two — 二' }]);
      assert.equal((await room.presenceStats()).numClients, 2);
      room.unsubscribe();
      // By a request of its own, which the next publication may overtake.
      await eventually('it is gone', async () => (await other.presenceStats()).numClients === 1);
      await other.publish(format.write('alone'));
      await eventually('it has come', () => other.publications.length === 3);
      assert.equal(room.publications.length, 2);
    });

    it('many and long publications come whole and in order', async () => {
      const channel = channelIn('storm');
      const room = await subscribed(format, await join(over(transport), format), channel);
      const other = await connected(format);
      // The SDK gives a Protobuf stream up when a message comes in pieces (5.7.0), as long ones do.
      const longest = format === protobuf ? 100 : 50_000;
      const long = (n) => ({ n, text: 'x'.repeat(n % 10 === 0 ? longest : 10) });
      for (const n of upTo(200)) other.publish(channel, format.write(long(n)));
      await eventually('all have come', () => room.publications.length === 200);
      assert.deepEqual(values(room), upTo(200).map(long));
    });

    it('pings keep a quiet connection alive', async () => {
      const client = await join(over(transport), format);
      await sleep(5_000);
      assert.equal(entries(client, 'connecting').length, 1);
      assert.equal(client.state, 'connected');
    });

    it('a dropped network costs nothing: nothing is missed, nothing comes twice', async () => {
      const channel = channelIn('chat');
      const network = await Network.open();
      const client = await join(over(transport, network.url), format);
      const room = await subscribed(format, client, channel, { recoverable: true });
      const other = await connected(format);
      let next = 1;
      for (let round = 0; round < 4; round += 1) {
        await other.publish(channel, format.write(next));
        await eventually('the live one has come', () => room.publications.length === next);
        network.cut();
        for (const n of [next + 1, next + 2]) await other.publish(channel, format.write(n));
        network.mend();
        await other.publish(channel, format.write(next + 3));
        next += 4;
        await eventually('all have come', () => room.publications.length >= next - 1);
      }
      assert.deepEqual(values(room), upTo(next - 1));
      assert.deepEqual(offsets(room), upTo(next - 1));
      assert.ok(entries(room, 'subscribed').slice(1).every(({ wasRecovering, recovered }) => wasRecovering && recovered));
    });

    for (const [code, comesBack] of [[3503, false], [3011, true], [4500, false]]) {
      it(`a client sent away with ${code} ${comesBack ? 'comes back' : 'stays away'}`, async () => {
        const user = channelIn('user').replace(':', '-');
        const client = await join(over(transport), format, { token: signed({ sub: user }) });
        await api('disconnect', { user, disconnect: { code, reason: 'enough' } });
        const event = comesBack ? 'connecting' : 'disconnected';
        await eventually('it is told', () => entries(client, event).some((entry) => entry.code === code && entry.reason === 'enough'));
        await eventually('it has done so', () => client.state === (comesBack ? 'connected' : 'disconnected'));
      });
    }

    it('a wrong token is refused for good', async () => {
      const { endpoints, options } = over(transport);
      const client = newClient(format, { ...options, token: signed({ sub: 'ada' }, { secret: 'another' }) }, endpoints);
      client.connect();
      await eventually('it is told', () => client.state === 'disconnected');
      assert.equal(entries(client, 'disconnected')[0].code, 3500);
    });
  });
}

describe('where WebSocket does not get through', sideBySide, () => {
  it('the SDK falls back to a stream', async () => {
    const { endpoints, options } = over('http_stream');
    const closed = { transport: 'websocket', endpoint: DAEMON.replace('/websocket', '/nowhere') };
    const client = await connected(json, options, [closed, ...endpoints]);
    assert.equal(entries(client, 'connected')[0].transport, 'http_stream');
  });

  it('nobody speaks in a stream whose session he does not have', async () => {
    const emulation = (body) => fetch(httpUrl(DAEMON, '/emulation'), { method: 'POST', body: JSON.stringify(body) });
    const control = new AbortController();
    const stream = await fetch(httpUrl(DAEMON, '/connection/http_stream'), {
      method: 'POST', body: '{"id":1,"connect":{}}', signal: control.signal,
    });
    const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
    const read = async () => JSON.parse((await reader.read()).value.trim());
    const { connect: { session, node } } = await read();
    const data = JSON.stringify({ id: 2, subscribe: { channel: channelIn('chat') } });
    for (const foreign of [
      { session: session.slice(0, -1) + (session.endsWith('0') ? '1' : '0'), node }, { session: 'x', node }, { session, node: 'x' },
    ]) {
      assert.equal((await emulation({ ...foreign, data })).status, 404, JSON.stringify(foreign));
    }
    assert.equal((await emulation({ session, node, data })).status, 204);
    assert.equal((await read()).id, 2, 'it is none the worse for it');
    control.abort();
  });
});

// Its parser drops what follows a first CR LF in the same piece.
it('eventsource 2 hears the first event, which comes in one piece with the beginning of the stream', async () => {
  const channel = channelIn('chat');
  for (let round = 0; round < 10; round += 1) {
    const room = await subscribed(json, await join(over('sse', DAEMON, EventSource2), json), channel);
    await room.publish({ round });
    await eventually('it has come', () => room.publications.length === 1);
  }
});
