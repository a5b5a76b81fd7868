// permessage-deflate with the WebSocket client of Node.js: what it offers, and what both sides make of that.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import WebSocket from 'ws';
import { DAEMON, channelIn, formats, newClient, sideBySide } from './harness.mjs';

const ECHO = DAEMON.replace('/connection/websocket', '/echo');
const LONG = 'all work and no play makes Jack a dull boy. '.repeat(1000);
const AGREED = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover';

// Connects to the echo; `heard` gives the next message.
async function echo(perMessageDeflate) {
  const socket = new WebSocket(ECHO, { perMessageDeflate });
  const waiting = [];
  socket.on('message', (data, isBinary) => waiting.shift()?.(isBinary ? data : String(data)));
  let answer = null;
  socket.on('upgrade', (response) => (answer = response.headers['sec-websocket-extensions'] ?? null));
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  const heard = () => new Promise((resolve) => waiting.push(resolve));
  return { socket, answer, heard };
}

describe('compression', sideBySide, () => {
  it('every set of parameters gets an answer that the client takes, and messages go both ways', async () => {
    const offers = [
      [true, AGREED],
      [{ threshold: 0 }, AGREED],
      [{ threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true }, AGREED],
      [{ threshold: 0, clientMaxWindowBits: true }, AGREED],
      [false, null],
    ];
    for (let bits = 8; bits <= 15; bits += 1) {
      offers.push([{ threshold: 0, serverMaxWindowBits: bits }, `${AGREED}; server_max_window_bits=${bits}`]);
      if (bits > 8) offers.push([{ threshold: 0, clientMaxWindowBits: bits }, `${AGREED}; client_max_window_bits=${bits}`]);
    }
    for (const [offer, expected] of offers) {
      const { socket, answer, heard } = await echo(offer);
      assert.equal(answer, expected, JSON.stringify(offer));
      assert.equal(socket.extensions, expected === null ? '' : 'permessage-deflate');
      for (const text of [LONG, 'short', '', 'κόσμε '.repeat(200)]) {
        socket.send(text);
        assert.equal(await heard(), text);
      }
      const bytes = Buffer.from(LONG);
      socket.send(bytes);
      assert.deepEqual(await heard(), bytes);
      socket.close(1000);
      const code = await new Promise((resolve) => socket.once('close', resolve));
      assert.equal(code, 1000);
    }
  });

  it('a long message comes over the wire short', async () => {
    const { socket, heard } = await echo({ threshold: 0 });
    const before = socket._socket.bytesRead;
    socket.send(LONG);
    assert.equal(await heard(), LONG);
    const came = socket._socket.bytesRead - before;
    assert.ok(came < LONG.length / 10, `${came} bytes for ${LONG.length}`);
    socket.close();
  });

  it('fragments of a compressed message are one message', async () => {
    const { socket, heard } = await echo({ threshold: 0 });
    socket.send('Hello, ', { fin: false });
    socket.send('hello, ', { fin: false });
    socket.send('hello');
    assert.equal(await heard(), 'Hello, hello, hello');
    socket.close();
  });

  for (const format of formats) {
    it(`a long publication arrives (${format.name})`, async () => {
      const client = newClient(format);
      const sub = client.newSubscription(channelIn('chat'));
      const came = new Promise((resolve) => sub.on('publication', (publication) => resolve(format.read(publication.data))));
      sub.subscribe();
      client.connect();
      await sub.ready();
      await sub.publish(format.write({ text: LONG }));
      assert.deepEqual(await came, { text: LONG });
    });
  }
});
