// Harness: what every test of the JavaScript SDK needs.
//
// In:  the daemon's addresses, binary and configuration, from the environment (engine/tests/sdk sets it).
// Out: clients in both formats, tokens, channels of one's own, calls of the server API, and waiting for what must come to
// pass.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { after } from 'node:test';
import { Centrifuge } from 'centrifuge';
import { Centrifuge as CentrifugeProtobuf } from 'centrifuge/build/protobuf';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';

export const DAEMON = required('SDK_URL');
const API = required('SDK_API');
const BINARY = required('SDK_HOLDFAST');
const CONFIG = required('SDK_CONFIG');
const SECRET = 'for-tests-only';
const PATIENCE_MS = 60_000;
const CLIENT_EVENTS = ['connecting', 'connected', 'disconnected', 'error', 'subscribed', 'publication', 'unsubscribed'];

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run these tests with cargo test --test sdk`);
  return value;
}

// Calls the server API; answers with the result.
export async function api(method, params) {
  const headers = { 'Content-Type': 'application/json', 'X-API-Key': SECRET };
  const answer = await fetch(`${API}/${method}`, { method: 'POST', headers, body: JSON.stringify(params) });
  const { result, error } = await answer.json();
  assert.equal(error, undefined, `${method}: ${JSON.stringify(error)}`);
  return result;
}

const json = {
  name: 'JSON',
  Client: Centrifuge,
  write: (value) => value,
  read: (data) => data,
};

const protobuf = {
  name: 'Protobuf',
  Client: CentrifugeProtobuf,
  write: (value) => new TextEncoder().encode(JSON.stringify(value)),
  read: (data) => JSON.parse(new TextDecoder().decode(data)),
};

// The wire formats: every test that is about more than the format itself runs in both.
export const formats = [json, protobuf];

// Tests of one file run side by side: they wait most of the time.
export const sideBySide = { concurrency: true };

const clients = [];
after(() => clients.forEach((client) => client.disconnect()));

// A client that is not connected yet and keeps a diary of what happened to it.
export function newClient(format, options = {}, url = DAEMON) {
  const client = new format.Client(url, {
    websocket: WebSocket,
    minReconnectDelay: 50,
    maxReconnectDelay: 200,
    ...options,
  });
  clients.push(client);
  client.diary = [];
  for (const event of CLIENT_EVENTS) {
    client.on(event, (context) => client.diary.push({ event, ...context }));
  }
  return client;
}

export const httpUrl = (url, path) => new URL(path, url.replace(/^ws/, 'http')).href;

// What a client over one of the streams is made of.
export function over(transport, url = DAEMON, eventsource = EventSource) {
  return {
    endpoints: [{ transport, endpoint: httpUrl(url, `/connection/${transport}`) }],
    options: { fetch, readableStream: ReadableStream, eventsource, emulationEndpoint: httpUrl(url, '/emulation') },
  };
}

// A connected client.
export async function connected(format, options, url) {
  const client = newClient(format, options, url);
  client.connect();
  await client.ready(PATIENCE_MS);
  return client;
}

// A subscription that keeps a diary too; `publications` are the values that came, with their offsets.
export function newSubscription(format, client, channel, options = {}) {
  const subscription = client.newSubscription(channel, { minResubscribeDelay: 50, maxResubscribeDelay: 200, ...options });
  subscription.diary = [];
  subscription.publications = [];
  for (const event of ['subscribing', 'subscribed', 'unsubscribed', 'error', 'join', 'leave']) {
    subscription.on(event, (context) => subscription.diary.push({ event, ...context }));
  }
  subscription.on('publication', ({ data, offset, info, tags }) => {
    // In Protobuf the SDK gives offsets as objects of 64 bits.
    subscription.publications.push({ value: format.read(data), offset: Number(offset ?? 0), info, tags });
  });
  return subscription;
}

// A subscription that is made.
export async function subscribed(format, client, channel, options) {
  const subscription = newSubscription(format, client, channel, options);
  subscription.subscribe();
  await subscription.ready(PATIENCE_MS);
  return subscription;
}

export const values = (subscription) => subscription.publications.map(({ value }) => value);
export const offsets = (subscription) => subscription.publications.map(({ offset }) => offset);
export const entries = (holder, event) => holder.diary.filter((entry) => entry.event === event);

// A channel that no other test uses.
export const channelIn = (namespace) => `${namespace}:${randomBytes(6).toString('hex')}`;

// Waits until `isSo`; fails with `what` where it does not come to pass.
export async function eventually(what, isSo) {
  for (const began = Date.now(); !(await isSo()); await sleep(5)) {
    assert.ok(Date.now() - began < PATIENCE_MS, `this never came to pass: ${what}`);
  }
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Expects that a promise fails with this code.
export const failsWith = (code, promise) => assert.rejects(promise, (error) => error.code === code);

// A token as an operator makes it: `holdfast token gen` or `holdfast token sub`.
export function token(command, options) {
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  return execFileSync(BINARY, ['token', command, '--config', CONFIG, ...flags], { encoding: 'utf8' }).trim();
}

// A token as a backend makes it, with whatever claims: also those that `holdfast token` refuses to make.
export function signed(claims, { secret = SECRET, algorithm = 'HS256' } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${part({ typ: 'JWT', alg: algorithm })}.${part(claims)}`;
  const signature = algorithm === 'none' ? '' : createHmac('sha256', secret).update(body).digest('base64url');
  return `${body}.${signature}`;
}

export const nowSeconds = () => Math.floor(Date.now() / 1000);
