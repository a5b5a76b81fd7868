// Writes commands.txt with the SDK's encoders; checks replies.txt and deltas.txt with its decoders.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { Centrifuge as JsonCentrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';

const json = new JsonCentrifuge('ws://localhost', { websocket: class {} })._codec;
const protobuf = new ProtobufCentrifuge('ws://localhost', { websocket: class {} })._codec;

const data = { text: 'hé "quoted"\n', list: [1, 2.5, null] };
const filter = {
  op: 'and',
  nodes: [
    { key: 'ticker', cmp: 'in', vals: ['AAPL', 'GOOG'] },
    { op: 'not', nodes: [{ key: 'price', cmp: 'gte', val: '10.5' }] },
  ],
};
const commands = [
  { id: 1, connect: {} },
  { id: 1, connect: { token: 'abc', data, name: 'js', version: '1', headers: { 'X-A': 'é' } } },
  { id: 1, connect: { subs: { '$news': { recover: true, epoch: 'xyz', offset: 9007199254740991 } }, flag: 1 } },
  { id: 2, subscribe: { channel: 'news:é' } },
  {
    id: 3,
    subscribe: {
      channel: 'a', token: 'b', recover: true, epoch: 'c', offset: 300, data, positioned: true,
      recoverable: true, join_leave: true, delta: 'fossil', tf: filter, flag: 2,
    },
  },
  { id: 4, unsubscribe: { channel: 'a' } },
  { id: 127, publish: { channel: 'a', data } },
  { id: 128, publish: { channel: 'a', data: 'plain' } },
  { id: 5, presence: { channel: 'a' } },
  { id: 6, presence_stats: { channel: 'a' } },
  { id: 7, history: { channel: 'a' } },
  { id: 8, history: { channel: 'a', limit: -1, since: { offset: 5, epoch: 'x' }, reverse: true } },
  { id: 9, ping: {} },
  { send: { data } },
  { id: 10, rpc: { method: 'm', data } },
  { id: 4294967295, refresh: { token: 'abc' } },
  { id: 12, sub_refresh: { channel: 'a', token: 'abc' } },
  {},
];

// In Protobuf, applications give bytes: here the JSON text of what they give in JSON.
const bytes = (value) => new TextEncoder().encode(JSON.stringify(value));
const withBytes = (value) => mapData(value, bytes);
function mapData(value, change) {
  if (Array.isArray(value)) return value.map((item) => mapData(item, change));
  if (value === null || typeof value !== 'object') return value;
  const named = (key, item) => (payloadKeys.has(key) ? change(item) : mapData(item, change));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, named(key, item)]));
}
const payloadKeys = new Set(['data', 'conn_info', 'chan_info']);

const hex = (frame) => Buffer.from(frame).toString('hex');
const lines = commands.map((command) => {
  const line = json.encodeCommands([command]);
  const frame = protobuf.encodeCommands([withBytes(structuredClone(command))]);
  return `${line}\t${hex(frame)}`;
});
writeFileSync('commands.txt', lines.join('\n') + '\n');

const rows = (name) =>
  readFileSync(name, 'utf8').split('\n').filter(Boolean).map((line) => line.split('\t'));
for (const [line, frame] of rows('replies.txt')) {
  const [fromJson] = json.decodeReplies(line);
  const [fromProtobuf] = protobuf.decodeReplies(Buffer.from(frame, 'hex'));
  const text = (value) => JSON.parse(new TextDecoder().decode(value));
  assert.deepEqual(plain(mapData(fromProtobuf, text)), fromJson, line);
}
for (const [source, target, patch] of rows('deltas.txt')) {
  const publication = { delta: true, data: Buffer.from(patch, 'hex') };
  const { newData } = protobuf.applyDeltaIfNeeded(publication, Buffer.from(source, 'hex'));
  assert.equal(hex(newData), target);
}

// Own fields only: protobufjs keeps defaults in the prototype. 64-bit numbers become JavaScript's.
function plain(value) {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value.toNumber === 'function') return value.toNumber();
  return Object.fromEntries(Object.keys(value).map((key) => [key, plain(value[key])]));
}
