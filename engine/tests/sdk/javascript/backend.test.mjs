// What the application's backend decides when it is asked, as the SDK's clients notice it. The daemon of these tests is
// their own: its configuration names a backend that runs here.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { connected, entries, eventually, failsWith, formats, newClient, newSubscription, sideBySide } from './harness.mjs';

const events = {
  connect: ({ data }) =>
    data?.secret === 'open sesame'
      ? { result: { user: 'ada', data: { welcome: true }, subs: { 'news:ada': {} } } }
      : { disconnect: { code: 4501, reason: 'who are you?' } },
  rpc: ({ user, method, data }) =>
    method === 'sum'
      ? { result: { data: { user, sum: data.reduce((sum, n) => sum + n, 0) } } }
      : { error: { code: 1404, message: 'no such method' } },
  subscribe: ({ channel }) =>
    channel.endsWith('open') ? { result: { data: { topic: 'all' } } } : { error: { code: 1403, message: 'members only' } },
};

const backend = createServer(async (request, response) => {
  let body = '';
  for await (const part of request) body += part;
  response.end(JSON.stringify(events[request.url.slice(1)](JSON.parse(body))));
});
const folder = mkdtempSync(join(tmpdir(), 'holdfast-'));
let daemon;
let url;

before(async () => {
  await new Promise((resolve) => backend.listen(0, '127.0.0.1', resolve));
  const at = (event) => ({ endpoint: `http://127.0.0.1:${backend.address().port}/${event}` });
  const config = join(folder, 'holdfast.json');
  writeFileSync(config, JSON.stringify({
    client: { proxy: { connect: { enabled: true, ...at('connect') } } },
    rpc: { proxy: at('rpc'), without_namespace: { proxy_enabled: true } },
    channel: {
      proxy: { subscribe: at('subscribe') },
      namespaces: [{ name: 'news' }, { name: 'asked', subscribe_proxy_enabled: true }],
    },
  }));
  const free = '127.0.0.1:0';
  const flags = ['serve', '--config', config, '--listen', free, '--control', free, '--shards', '1'];
  daemon = spawn(process.env.SDK_HOLDFAST, flags, { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: daemon.stdout })) {
    url = `ws://${/listen=(\S+)/.exec(line)[1]}/connection/websocket`;
    break;
  }
});

after(() => {
  daemon?.kill();
  backend.close();
  backend.closeAllConnections();
  rmSync(folder, { recursive: true });
});

for (const format of formats) {
  describe(format.name, sideBySide, () => {
    const known = () => connected(format, { data: format.write({ secret: 'open sesame' }) }, url);

    it('the backend says who a client is, and what it is subscribed to', async () => {
      const client = await known();
      const [{ data }] = entries(client, 'connected');
      assert.deepEqual(format.read(data), { welcome: true });
      await eventually('it is subscribed', () => entries(client, 'subscribed').length === 1);
      assert.equal(entries(client, 'subscribed')[0].channel, 'news:ada');
    });

    it('whom the backend does not know is sent away with its code', async () => {
      const client = newClient(format, { data: format.write({ secret: 'please' }) }, url);
      client.connect();
      await eventually('it is told', () => client.state === 'disconnected');
      const [{ code, reason }] = entries(client, 'disconnected');
      assert.deepEqual([code, reason], [4501, 'who are you?']);
    });

    it('a call is answered by the backend, or refused in its words', async () => {
      const client = await known();
      const { data } = await client.rpc('sum', format.write([1, 2, 3]));
      assert.deepEqual(format.read(data), { user: 'ada', sum: 6 });
      await failsWith(1404, client.rpc('product', format.write([1])));
    });

    it('the backend says who may subscribe', async () => {
      const client = await known();
      const open = newSubscription(format, client, 'asked:open');
      open.subscribe();
      await open.ready(60_000);
      assert.deepEqual(format.read(entries(open, 'subscribed')[0].data), { topic: 'all' });
      const closed = newSubscription(format, client, 'asked:closed');
      closed.subscribe();
      await eventually('it is refused', () => closed.state === 'unsubscribed');
      assert.equal(entries(closed, 'unsubscribed')[0].code, 1403);
    });
  });
}
