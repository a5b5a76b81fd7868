// A publish storm, and those who join in the middle of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { channelIn, connected, eventually, formats, offsets, sleep, subscribed } from './harness.mjs';

const PUBLICATIONS = 5_000;
const SUBSCRIBERS = 50;

const all = Array.from({ length: PUBLICATIONS }, (_, i) => i + 1);

for (const format of formats) {
  test(`${format.name}: who joins a storm has no gap and no repeat between history and live`, async () => {
    const channel = channelIn('storm');
    const publishers = [await connected(format), await connected(format)];
    const clients = await Promise.all([...Array(SUBSCRIBERS)].map(() => connected(format)));
    let published = 0;
    const pour = publishers.map(async (publisher, which) => {
      for (let own = 0; own < PUBLICATIONS / 2; own += 1) {
        await publisher.publish(channel, format.write({ which, own }));
        published += 1;
      }
    });
    // One joins every so many publications; those with an even number ask for all from the beginning.
    const joins = clients.map(async (client, number) => {
      while (published < (number * PUBLICATIONS) / (SUBSCRIBERS + 1)) await sleep(1);
      const since = number % 2 === 0 ? { offset: 0, epoch: '' } : undefined;
      return subscribed(format, client, channel, { since });
    });
    const rooms = await Promise.all(joins);
    await Promise.all(pour);
    for (const [number, room] of rooms.entries()) {
      await eventually(`subscriber ${number} has the last one`, () => offsets(room).at(-1) === PUBLICATIONS);
      const first = offsets(room)[0];
      if (number % 2 === 0) assert.equal(first, 1);
      assert.deepEqual(offsets(room), all.slice(first - 1), `subscriber ${number}`);
      for (const which of [0, 1]) {
        const own = room.publications.filter(({ value }) => value.which === which).map(({ value }) => value.own);
        assert.ok(own.every((value, i) => i === 0 || value === own[i - 1] + 1), 'a publisher is heard in its order');
      }
    }
  });
}
