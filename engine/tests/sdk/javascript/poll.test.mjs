// Our own client for HTTP long-polling (tools/poll-client), over a network that loses answers and a server that forgets
// sessions.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, describe, it } from 'node:test';
import {
  DAEMON, api, channelIn, eventually, failsWith, nowSeconds, sideBySide, signed, sleep,
} from './harness.mjs';
import { Network } from './network.mjs';

const { PollClient, fetchPost, wxPost } = await import(process.env.SDK_POLL_CLIENT);

const pollUrl = (url = DAEMON) => url.replace(/^ws/, 'http').replace(/websocket$/, 'poll');
const upTo = (count, first = 1) => Array.from({ length: count - first + 1 }, (_, i) => i + first);

const clients = [];
after(() => clients.forEach((client) => client.disconnect()));

// A client that keeps a diary of what happened to it.
function newClient(options = {}, url = DAEMON) {
  const client = new PollClient(pollUrl(url), { backoffMinMs: 20, backoffMaxMs: 200, ...options });
  clients.push(client);
  keepDiary(client, ['connecting', 'connected', 'disconnected', 'error', 'subscribed', 'unsubscribed', 'publication']);
  return client;
}

async function connected(options, url) {
  const client = newClient(options, url);
  client.connect();
  await client.ready();
  return client;
}

function newSubscription(client, channel, options) {
  const subscription = client.newSubscription(channel, options);
  keepDiary(subscription, ['subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave', 'error']);
  return subscription;
}

async function subscribed(client, channel, options) {
  const subscription = newSubscription(client, channel, options);
  subscription.subscribe();
  await subscription.ready();
  return subscription;
}

function keepDiary(emitter, events) {
  emitter.diary = [];
  for (const event of events) emitter.on(event, (context) => emitter.diary.push({ event, ...context }));
}

const entries = (holder, event) => holder.diary.filter((entry) => entry.event === event);
const values = (subscription) => entries(subscription, 'publication').map(({ data }) => data);

// A way to POST that sometimes loses a request, and sometimes, when the server has done its work, the answer.
function lossyPost(seed) {
  let state = seed;
  const chance = () => {
    // The generator of Park and Miller: the same losses for the same seed.
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
  return (url, text, timeoutMs) => {
    if (chance() < 0.15) return { answer: sleep(5).then(() => { throw new Error('the request was lost'); }), abort() {} };
    const { answer, abort } = fetchPost(url, text, timeoutMs);
    const isLost = chance() < 0.3 && !text.includes('"connect"');
    return { abort, answer: isLost ? answer.then(() => { throw new Error('the answer was lost'); }) : answer };
  };
}

describe('the client for long-polling', sideBySide, () => {
  it('two clients talk, see each other come and go, and read what was said', async () => {
    const channel = channelIn('chat');
    const [ada, grace] = [await connected({ token: signed({ sub: 'ada', info: { color: 'red' } }) }), await connected()];
    const room = await subscribed(ada, channel, { joinLeave: true });
    const other = await subscribed(grace, channel, { joinLeave: true });
    await eventually('Ada sees Grace come', () => entries(room, 'join').length > 0);
    await room.publish({ text: 'hello' });
    await eventually('both hear it', () => values(room).length === 1 && values(other).length === 1);
    const [{ data, info, offset }] = entries(other, 'publication');
    assert.deepEqual([data, info.user, info.connInfo, offset], [{ text: 'hello' }, 'ada', { color: 'red' }, 1]);
    const { clients: present } = await room.presence();
    assert.deepEqual(Object.values(present).map(({ user }) => user).sort(), ['', 'ada']);
    assert.deepEqual(await room.presenceStats(), { numClients: 2, numUsers: 2 });
    const history = await room.history({ limit: 10 });
    assert.deepEqual([history.publications.map(({ data: kept }) => kept), history.offset], [[{ text: 'hello' }], 1]);
    other.unsubscribe();
    await eventually('Ada sees Grace leave', () => entries(room, 'leave').length === 1);
    await room.publish('alone');
    await eventually('Ada hears it', () => values(room).length === 2);
    assert.equal(values(other).length, 1);
  });

  it('a poll that waits is answered at once when something is published', async () => {
    const channel = channelIn('chat');
    const room = await subscribed(await connected(), channel);
    // The wait is 2 s. Several times, because a busy machine can take long over one of them.
    const times = [];
    for (const count of upTo(5)) {
      await sleep(300);
      const began = Date.now();
      await api('publish', { channel, data: count });
      await eventually('it has come', () => values(room).length === count);
      times.push(Date.now() - began);
    }
    assert.ok(Math.min(...times) < 1_000, `long before the wait is over: ${times}`);
  });

  it('what is sent in one go goes out in one request, and in its order', async () => {
    const channel = channelIn('chat');
    const bodies = [];
    const post = (url, text, timeoutMs) => {
      bodies.push(JSON.parse(text));
      return fetchPost(url, text, timeoutMs);
    };
    const client = await connected({ post });
    const room = await subscribed(client, channel);
    bodies.length = 0;
    await Promise.all(upTo(40).map((n) => client.publish(channel, n)));
    await eventually('all have come', () => values(room).length === 40);
    assert.deepEqual(values(room), upTo(40));
    const sending = bodies.filter(({ commands }) => commands.length > 0);
    assert.deepEqual(sending.map(({ commands }) => commands.length), [40]);
  });

  for (const seed of [1, 2, 3]) {
    it(`lost requests and lost answers cost nothing (seed ${seed})`, async () => {
      const channel = channelIn('storm');
      const client = await connected({ post: lossyPost(seed), backoffMinMs: 5, backoffMaxMs: 20 });
      const room = await subscribed(client, channel);
      const other = await connected();
      const heard = await subscribed(other, channel);
      for (const n of upTo(60)) await client.publish(channel, n);
      await eventually('all have come', () => values(room).length >= 60 && values(heard).length >= 60);
      await sleep(100);
      assert.deepEqual(values(room), upTo(60), 'each once and in order');
      assert.deepEqual(values(heard), upTo(60), 'nothing was published twice');
      assert.ok(entries(client, 'error').length > 5, 'the network was bad');
      assert.equal(entries(client, 'connected').length, 1, 'the session has survived');
    });
  }

  it('a network that swallows answers and comes back costs nothing', async () => {
    const channel = channelIn('chat');
    const network = await Network.open();
    const client = await connected({}, network.url);
    const room = await subscribed(client, channel);
    for (let round = 0; round < 5; round += 1) {
      network.freeze();
      await api('publish', { channel, data: 3 * round + 1 });
      await api('publish', { channel, data: 3 * round + 2 });
      network.cut();
      await api('publish', { channel, data: 3 * round + 3 });
      network.mend();
      await eventually('all have come', () => values(room).length >= 3 * round + 3);
    }
    assert.deepEqual(values(room), upTo(15));
    assert.equal(entries(client, 'connected').length, 1);
  });

  it('who is away until the session has ended recovers what was missed', async () => {
    const channel = channelIn('chat');
    const network = await Network.open();
    const client = await connected({ sessionTtlMs: 60_000 }, network.url);
    const room = await subscribed(client, channel, { recoverable: true });
    const [{ client: before }] = entries(client, 'connected');
    await api('publish', { channel, data: 1 });
    await eventually('the first has come', () => values(room).length === 1);
    network.cut();
    await eventually('the session has ended', async () => (await api('presence_stats', { channel })).num_clients === 0);
    for (const n of [2, 3, 4]) await api('publish', { channel, data: n });
    network.mend();
    await api('publish', { channel, data: 5 });
    await eventually('all have come', () => values(room).length >= 5);
    assert.deepEqual(values(room), upTo(5));
    const [, again] = entries(client, 'connected');
    assert.notEqual(again.client, before, 'it is another session');
    assert.deepEqual(entries(room, 'subscribed').map(({ wasRecovering, recovered }) => [wasRecovering, recovered]), [[false, false], [true, true]]);
  });

  it('who was away for too long is told so, and goes on from now', async () => {
    const channel = channelIn('brief');
    const network = await Network.open();
    const user = channelIn('user').replace(':', '-');
    const client = await connected({ token: signed({ sub: user }) }, network.url);
    const room = await subscribed(client, channel);
    await api('publish', { channel, data: 1 });
    await eventually('the first has come', () => values(room).length === 1);
    network.cut();
    await api('disconnect', { user, disconnect: { code: 3000, reason: 'for a test' } });
    for (const n of upTo(7, 2)) await api('publish', { channel, data: n });
    network.mend();
    await eventually('it is subscribed again', () => entries(room, 'subscribed').length === 2);
    const { wasRecovering, recovered } = entries(room, 'subscribed')[1];
    assert.deepEqual([wasRecovering, recovered], [true, false]);
    await api('publish', { channel, data: 8 });
    await eventually('the next has come', () => values(room).includes(8));
    assert.deepEqual(values(room), [1, 8]);
  });

  it('nobody speaks in a session whose id he does not have', async () => {
    const ask = async (body) => fetch(pollUrl(), { method: 'POST', body: JSON.stringify(body) });
    const opened = await ask({ commands: [{ id: 1, connect: {} }] });
    const { session, sequence } = await opened.json();
    assert.ok(session.length > 30 && sequence === 1);
    const guessed = session.slice(0, -1) + (session.endsWith('0') ? '1' : '0');
    for (const foreign of [guessed, `${session}0`, '0.0.0', 'x']) {
      const { status } = await ask({ session: foreign, received: 0, commands: [{ id: 2, subscribe: { channel: channelIn('chat') } }] });
      assert.equal(status, 404, foreign);
    }
    const mine = await ask({ session, received: sequence, commands: [{ id: 2, subscribe: { channel: channelIn('chat') } }] });
    assert.equal((await mine.json()).replies[0].id, 2, 'it is none the worse for it');
  });

  for (const [code, comesBack] of [[3503, false], [3011, true], [4000, true], [4500, false]]) {
    it(`a client sent away with ${code} ${comesBack ? 'comes back' : 'stays away'}`, async () => {
      const user = channelIn('user').replace(':', '-');
      const client = await connected({ token: signed({ sub: user }) });
      await api('disconnect', { user, disconnect: { code, reason: 'enough' } });
      const event = comesBack ? 'connecting' : 'disconnected';
      await eventually('it is told', () => entries(client, event).some((entry) => entry.code === code && entry.reason === 'enough'));
      await eventually('it has done so', () => client.state === (comesBack ? 'connected' : 'disconnected'));
    });
  }

  it('a refused connection stays away, and says why', async () => {
    const client = newClient({ token: 'wrong' });
    client.connect();
    await assert.rejects(client.ready(), (error) => error.code === 3500);
    assert.equal(client.state, 'disconnected');
    const nowhere = newClient({}, DAEMON.replace('/connection/websocket', '/connection/sse'));
    nowhere.connect();
    await eventually('it says what is wrong', () => entries(nowhere, 'error').length > 0 || entries(nowhere, 'disconnected').length > 0);
    nowhere.disconnect();
  });

  it('a token is asked for, and asked for again when it has expired', async () => {
    let asked = 0;
    const getToken = async () => {
      asked += 1;
      return signed({ sub: 'ada', exp: nowSeconds() + (asked === 1 ? -10 : 3) });
    };
    const client = await connected({ getToken });
    assert.equal(asked, 2, 'the first had expired');
    await eventually('it is renewed in time', () => asked >= 3);
    await sleep(500);
    assert.equal(entries(client, 'connected').length, 1);
  });

  it('a subscription token is asked for, and what is refused is told', async () => {
    const client = await connected({ token: signed({ sub: 'ada' }) });
    const channel = channelIn('closed');
    const room = await subscribed(client, channel, { getToken: async () => signed({ sub: 'ada', channel, exp: nowSeconds() + 600 }) });
    await api('publish', { channel, data: 'inside' });
    await eventually('it has come', () => values(room).length === 1);
    const refused = newSubscription(client, channelIn('closed'));
    refused.subscribe();
    await failsWith(103, refused.ready());
    await failsWith(102, client.publish('nowhere:1', 1));
    await failsWith(108, client.rpc('anything', {}));
    await failsWith(413, client.publish(channel, 'x'.repeat(70_000)));
  });

  it('a subscription that the server made is heard, and recovered', async () => {
    const [channel, user] = [channelIn('brief'), channelIn('user').replace(':', '-')];
    const network = await Network.open();
    const client = await connected({ token: signed({ sub: user, channels: [channel] }) }, network.url);
    const came = () => entries(client, 'publication').map(({ data }) => data);
    await api('publish', { channel, data: 1 });
    await eventually('the first has come', () => came().length === 1);
    network.cut();
    await api('disconnect', { user, disconnect: { code: 3000, reason: 'for a test' } });
    await api('publish', { channel, data: 2 });
    network.mend();
    await api('publish', { channel, data: 3 });
    await eventually('all have come', () => came().length >= 3);
    assert.deepEqual(came(), [1, 2, 3]);
    assert.equal(entries(client, 'subscribed').length, 2);
  });

  it('it works with what a mini-program has', async () => {
    // The shape of `wx.request`, made of Node's.
    const wx = {
      request({ url, method, data, header, timeout, success, fail }) {
        const request = http.request(url, { method, headers: header, timeout }, (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (piece) => { text += piece; });
          response.on('end', () => success({ statusCode: response.statusCode, data: text, header: response.headers }));
        });
        request.on('error', ({ message }) => fail({ errMsg: message }));
        request.end(data);
        return { abort: () => request.destroy() };
      },
    };
    const channel = channelIn('chat');
    const client = await connected({ post: wxPost(wx) });
    const room = await subscribed(client, channel);
    await room.publish({ text: 'from a phone — 手机' });
    await eventually('it has come', () => values(room).length === 1);
    assert.deepEqual(values(room), [{ text: 'from a phone — 手机' }]);
    client.disconnect();
    assert.equal(client.state, 'disconnected');
  });
});
