// The SDK in a page of another origin: over each transport that a browser has, and our own client for long-polling.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { api, config, eventually, newPage, startDaemon } from './harness.mjs';
import { Network } from './network.mjs';

const SDK = readFileSync(createRequire(import.meta.url).resolve('centrifuge').replace(/build\/.*$/, 'dist/centrifuge.js'));
const POLL_CLIENT = dirname(process.env.SDK_POLL_CLIENT);
const CONFIG = config('transports.toml');
const HTML = `<!doctype html><title>elsewhere</title><link rel="icon" href="data:,"><script src="/sdk.js"></script>
<script type="module">import { PollClient } from '/poll/poll-client.js'; globalThis.PollClient = PollClient;</script>`;
const upTo = (count, first = 1) => Array.from({ length: count - first + 1 }, (_, i) => i + first);

let daemon;
let elsewhere;
before(async () => {
  daemon = await startDaemon(CONFIG);
  const files = { '/sdk.js': ['text/javascript', SDK] };
  for (const name of readdirSync(POLL_CLIENT).filter((name) => name.endsWith('.js'))) {
    files[`/poll/${name}`] = ['text/javascript', readFileSync(join(POLL_CLIENT, name))];
  }
  elsewhere = createServer(({ url }, response) => {
    const [kind, body] = files[url] ?? ['text/html', HTML];
    response.writeHead(200, { 'Content-Type': kind });
    response.end(body);
  });
  await new Promise((resolve) => elsewhere.listen(0, '127.0.0.1', resolve));
});
after(() => {
  daemon.stop();
  elsewhere.close();
});

// What runs in the page: a client with one subscription, and a diary of both.
function runClient({ transport, host, channel, token }) {
  const timing = { minReconnectDelay: 50, maxReconnectDelay: 200, backoffMinMs: 50, backoffMaxMs: 200 };
  const endpoint = `${transport === 'websocket' ? 'ws' : 'http'}://${host}/connection/${transport}`;
  const options = { ...timing, token, emulationEndpoint: `http://${host}/emulation` };
  const client = transport === 'poll' ? new globalThis.PollClient(endpoint, options) : new globalThis.Centrifuge([{ transport, endpoint }], options);
  const diary = [];
  for (const event of ['connecting', 'connected', 'disconnected']) {
    client.on(event, (context) => diary.push({ event, code: context.code, reason: context.reason, transport: context.transport }));
  }
  const room = client.newSubscription(channel);
  room.on('subscribed', ({ wasRecovering, recovered }) => diary.push({ event: 'subscribed', wasRecovering, recovered }));
  room.on('publication', ({ data }) => diary.push({ event: 'publication', data }));
  room.subscribe();
  client.connect();
  Object.assign(globalThis, { client, room, diary });
}

// A page with a client that is about to connect.
async function begin(transport, more) {
  const page = await newPage();
  await page.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
  await page.waitForFunction(() => globalThis.Centrifuge && globalThis.PollClient);
  await page.evaluate(runClient, { transport, host: daemon.listen, channel: 'chat:1', token: '', ...more });
  return page;
}

// The same, when it is subscribed.
async function open(transport, more) {
  const page = await begin(transport, more);
  await page.evaluate(() => globalThis.room.ready());
  return page;
}

const diary = (page, event) => page.evaluate((wanted) => globalThis.diary.filter((entry) => entry.event === wanted), event);
const heard = async (page) => (await diary(page, 'publication')).map(({ data }) => data);
const publish = (channel, data) => api(daemon, 'publish', { channel, data });

for (const transport of ['websocket', 'http_stream', 'sse', 'poll']) {
  describe(`in a browser, ${transport}`, () => {
    it('a page of another origin connects, subscribes, publishes and hears', async () => {
      const channel = `chat:${transport}`;
      const page = await open(transport, { channel });
      const [{ transport: used }] = await diary(page, 'connected');
      assert.equal(used, transport);
      await page.evaluate(() => globalThis.room.publish({ text: 'from the page — 手机' }));
      await publish(channel, { text: 'from the backend' });
      await eventually('both have come', async () => (await heard(page)).length === 2);
      assert.deepEqual(await heard(page), [{ text: 'from the page — 手机' }, { text: 'from the backend' }]);
      const kept = await page.evaluate(async () => (await globalThis.room.history({ limit: 10 })).publications.length);
      assert.equal(kept, 2);
      await page.close();
    });

    it('a dropped network costs nothing: nothing is missed, nothing comes twice', async () => {
      const channel = `chat:cut-${transport}`;
      const network = await Network.open(`http://${daemon.listen}`);
      const page = await open(transport, { channel, host: new URL(network.url).host });
      for (let round = 0; round < 3; round += 1) {
        await publish(channel, 3 * round + 1);
        await eventually('the live one has come', async () => (await heard(page)).length === 3 * round + 1);
        network.cut();
        await publish(channel, 3 * round + 2);
        network.mend();
        await publish(channel, 3 * round + 3);
        await eventually('all have come', async () => (await heard(page)).length >= 3 * round + 3);
      }
      assert.deepEqual(await heard(page), upTo(9));
      const comebacks = (await diary(page, 'subscribed')).slice(1);
      assert.ok(comebacks.every(({ wasRecovering, recovered }) => wasRecovering && recovered));
      await page.close();
    });

    for (const [code, comesBack] of [[4500, false], [3011, true]]) {
      it(`a page sent away with ${code} ${comesBack ? 'comes back' : 'stays away'}`, async () => {
        const user = `${transport}-${code}`;
        const path = new URL('transports.toml', import.meta.url).pathname;
        const token = execFileSync(process.env.SDK_HOLDFAST, ['token', 'gen', '--config', path, '--user', user], { encoding: 'utf8' });
        const page = await open(transport, { channel: `chat:end-${user}`, token: token.trim() });
        await api(daemon, 'disconnect', { user, disconnect: { code, reason: 'enough' } });
        const event = comesBack ? 'connecting' : 'disconnected';
        await eventually('it is told', async () => (await diary(page, event)).some((entry) => entry.code === code && entry.reason === 'enough'));
        const state = comesBack ? 'connected' : 'disconnected';
        await eventually('it has done so', async () => (await page.evaluate(() => globalThis.client.state)) === state);
        await page.close();
      });
    }
  });
}

describe('a page whose origin is not allowed', () => {
  for (const transport of ['websocket', 'http_stream', 'sse', 'poll']) {
    it(`does not get in by ${transport}`, async () => {
      const closed = await startDaemon(CONFIG.replace('http://127.0.0.1:*', 'http://allowed.test'));
      const page = await begin(transport, { host: closed.listen });
      await eventually('it has tried', () => page.faults.length > 0);
      assert.deepEqual(await diary(page, 'connected'), []);
      closed.stop();
      await page.close();
    });
  }
});
