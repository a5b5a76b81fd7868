// Nodes: two daemons that act as one through Redis, one of which is killed under its clients.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { channelIn, connected, entries, eventually, formats, offsets, over, subscribed, values } from './harness.mjs';
import { Network } from './network.mjs';

const LAST = 600;

// Each node's `url` and `pid`; none where there is no Redis.
const nodes = JSON.parse(process.env.SDK_NODES ?? '[]');

const skip = nodes.length ? false : 'there is no redis-server';

const upTo = (count) => Array.from({ length: count }, (_, i) => i + 1);

// What a client is to survive with: each way on which publications come.
const ways = [
  ...formats.map((format) => ({ name: format.name, format })),
  ...['sse', 'http_stream'].map((stream) => ({ name: stream, format: formats[0], stream })),
];

describe('two nodes', { skip }, () => {
  it('clients of a node that is killed recover on the other: nothing is missed, nothing comes twice', async () => {
    const [killed, left] = nodes;
    // Its history has room for all, however long a client is away.
    const channel = channelIn('storm');
    const network = await Network.open(killed.url);
    const guests = await Promise.all(ways.map(async (way) => {
      const { endpoints, options } = way.stream ? over(way.stream, network.url) : { endpoints: network.url };
      const client = await connected(way.format, options, endpoints);
      return { ...way, client, room: await subscribed(way.format, client, channel, { recoverable: true }) };
    }));
    const publisher = await connected(formats[0], {}, left.url);
    for (const value of upTo(LAST)) {
      if (value === LAST / 3) {
        process.kill(killed.pid, 'SIGKILL');
        network.moveTo(left.url);
      }
      await publisher.publish(channel, value);
    }
    for (const { name, client, room } of guests) {
      await eventually(`all have come by ${name}`, () => room.publications.length >= LAST);
      assert.deepEqual(values(room), upTo(LAST), name);
      assert.deepEqual(offsets(room), upTo(LAST), name);
      const comebacks = entries(room, 'subscribed').slice(1);
      assert.ok(comebacks.length >= 1 && comebacks.every(({ recovered }) => recovered), name);
      const ids = new Set(entries(client, 'connected').map((entry) => entry.client));
      assert.equal(ids.size, entries(client, 'connected').length, 'each session is another one');
    }
  });
});
