// What SDKs rely on and none shows: the frames themselves, as JSON lines.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import WebSocket from 'ws';
import { DAEMON, channelIn, eventually, sideBySide } from './harness.mjs';

// A client without an SDK: the replies and pushes that came, without pings, and how it ended.
async function raw() {
  const socket = new WebSocket(DAEMON);
  const client = { socket, frames: [], messages: [], closed: null };
  socket.on('message', (frame) => {
    client.frames.push(String(frame));
    const messages = String(frame).split('\n').filter((line) => line).map((line) => JSON.parse(line));
    client.messages.push(...messages.filter((message) => Object.keys(message).length > 0));
  });
  socket.on('close', (code, reason) => {
    client.closed = { code, reason: String(reason) };
  });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  client.send = (...commands) => socket.send(commands.map((command) => JSON.stringify(command)).join('\n'));
  client.replies = async (...ids) => {
    const find = (id) => client.messages.find((message) => message.id === id);
    await eventually(`replies to ${ids}`, () => ids.every(find));
    return ids.map(find);
  };
  return client;
}

async function greeted() {
  const client = await raw();
  client.send({ id: 1, connect: {} });
  await client.replies(1);
  return client;
}

describe('frames', sideBySide, () => {
  it('commands in one frame are all answered, those after connect too', async () => {
    const channel = channelIn('chat');
    const client = await raw();
    client.send(
      { id: 1, connect: {} },
      { id: 2, subscribe: { channel } },
      { id: 3, publish: { channel, data: { n: 1 } } },
      { id: 4, history: { channel, limit: 10 } },
      { id: 5, presence_stats: { channel } },
      { id: 6, rpc: { method: 'x', data: {} } },
      { id: 7, unsubscribe: { channel } },
      { id: 8, presence_stats: { channel } },
    );
    const [connect, , publish, history, before, rpc, unsubscribe, after] = await client.replies(1, 2, 3, 4, 5, 6, 7, 8);
    assert.equal(connect.connect.ping, 2);
    assert.equal(connect.connect.pong, true);
    assert.ok(publish.publish && unsubscribe.unsubscribe);
    assert.deepEqual(history.history.publications.map(({ data }) => data), [{ n: 1 }]);
    assert.equal(before.presence_stats.num_clients, 1);
    assert.equal(rpc.error.code, 108);
    assert.equal(after.presence_stats.num_clients, 0);
  });

  it('every subscribe of a client that cannot make up its mind is answered', async () => {
    const channel = channelIn('chat');
    const client = await greeted();
    client.send(
      { id: 2, subscribe: { channel } },
      { id: 3, unsubscribe: { channel } },
      { id: 4, subscribe: { channel } },
      { id: 5, subscribe: { channel } },
    );
    const [first, , last, again] = await client.replies(2, 3, 4, 5);
    assert.ok(first.subscribe && last.subscribe);
    assert.equal(again.error.code, 105);
    client.send({ id: 6, publish: { channel, data: 1 } }, { id: 7, presence_stats: { channel } });
    const [, stats] = await client.replies(6, 7);
    assert.equal(stats.presence_stats.num_clients, 1);
    await eventually('it is heard once', () => client.messages.some(({ push }) => push?.pub));
    assert.equal(client.messages.filter(({ push }) => push?.pub).length, 1);
  });

  for (const [what, code, frame] of [
    ['a first command that is no connect', 3501, '{"id":1,"subscribe":{"channel":"chat:x"}}'],
    ['an empty frame', 3501, ''],
    ['what is no JSON', 3501, '{"id":1,'],
    ['a command without a number', 3501, '{"connect":{}}'],
    ['a pong that nobody asked for', 3501, '{}'],
  ]) {
    it(`${what} ends the connection`, async () => {
      const client = await raw();
      client.socket.send(frame);
      await eventually('it is closed', () => client.closed);
      assert.equal(client.closed.code, code);
      assert.notEqual(client.closed.reason, '');
    });
  }

  for (const [what, command] of [
    ['a second connect', { id: 2, connect: {} }],
    ['an unsubscribe without a channel', { id: 2, unsubscribe: {} }],
    ['a subscribe without a channel', { id: 2, subscribe: {} }],
  ]) {
    it(`${what} ends a session`, async () => {
      const client = await greeted();
      client.send(command);
      await eventually('it is closed', () => client.closed);
      assert.equal(client.closed.code, 3501);
    });
  }

  it('a client that does not answer pings is sent away', async () => {
    const client = await greeted();
    await eventually('it is closed', () => client.closed);
    assert.equal(client.closed.code, 3012);
    assert.equal(client.frames.filter((frame) => frame === '{}').length, 1);
  });

  it('another client of the channel notices nothing of one that is sent away', async () => {
    const channel = channelIn('chat');
    const [good, bad] = [await greeted(), await greeted()];
    good.send({ id: 2, subscribe: { channel } });
    bad.send({ id: 2, subscribe: { channel } });
    await good.replies(2);
    await bad.replies(2);
    bad.send({ id: 3, publish: { channel, data: 1 } }, { id: 4, connect: {} });
    await eventually('the one is closed', () => bad.closed);
    await eventually('the other has heard it', () => good.messages.some(({ push }) => push?.pub));
    assert.equal(good.closed, null);
  });
});
