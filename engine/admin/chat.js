// Chat: the page's life, from the form to the conversation and back.
//
// In:  what the daemon says of itself (chat.json), what is typed.
// Out: a client of the SDK with one subscription; its state for all to see.
//
// The page knows no key and has no rights: it connects as any client would. Names are kept in this browser, tokens nowhere.

import { explain } from './hints.js';
import { Room } from './room.js';
import { $, View } from './view.js';

const TRANSPORTS = {
  websocket: { label: 'WebSocket', scheme: 'ws', path: '/connection/websocket' },
  http_stream: { label: 'HTTP streaming', scheme: 'http', path: '/connection/http_stream' },
  sse: { label: 'Server-sent events', scheme: 'http', path: '/connection/sse' },
};

const view = new View();
let client = null;
let room = null;

prepare();
$('join-form').addEventListener('submit', (event) => {
  event.preventDefault();
  join(Object.fromEntries(new FormData(event.target)));
});
$('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  say();
});
$('leave').addEventListener('click', leave);

// Fills the form with what the daemon says, and says what is in the way.
async function prepare() {
  $('name').value = kept('name') ?? '';
  $('channel').value = new URLSearchParams(location.search).get('channel') ?? kept('channel') ?? 'chat:lobby';
  $('no-client').hidden = Boolean(globalThis.Centrifuge);
  $('join-button').disabled = !globalThis.Centrifuge;
  let daemon;
  try {
    const answer = await fetch(`chat.json?origin=${encodeURIComponent(location.origin)}`);
    daemon = await answer.json();
  } catch {
    view.problem('The daemon does not answer any more.');
    return;
  }
  const { host, port, transports, admits_origin: admitsOrigin, admits_anonymous: admitsAnonymous } = daemon;
  $('server').value = `${host ?? location.hostname}:${port}`;
  $('transport').replaceChildren(...transports.map((name) => new Option(TRANSPORTS[name].label, name)));
  $('no-origin').hidden = admitsOrigin;
  $('origin').textContent = `[client]\nallowed_origins = ["${location.origin}"]`;
  $('token-optional').hidden = !admitsAnonymous;
  $('token').required = !admitsAnonymous;
  $('more').open = !admitsAnonymous;
}

function join({ name, channel, transport, token, server }) {
  keep('name', name);
  keep('channel', channel);
  view.problem('');
  view.empty();
  client = newClient(transport, server, token);
  const subscription = client.newSubscription(channel, { joinLeave: true });
  room = new Room(subscription, view, name);
  client.on('connecting', ({ code, reason }) => {
    view.state('connecting', 'Connecting');
    // 0 is the page's own wish, everything else an interruption.
    if (code !== 0) view.note(`The connection is interrupted: ${explain(code, reason)}`);
  });
  client.on('connected', ({ client: id }) => {
    room.connectedAs(id);
    view.fact('client', id);
    view.fact('transport', TRANSPORTS[transport].label);
    view.state('connected', 'Connected');
    view.turnTo('chat', channel);
    // Where there is no keyboard, one would cover half of the page.
    if (matchMedia('(pointer: fine)').matches) $('message').focus();
  });
  client.on('error', ({ error }) => {
    if (document.body.dataset.view === 'join') view.problem(`Not connected yet: ${explain(error.code, error.message)}`);
  });
  client.on('disconnected', ({ code, reason }) => {
    view.state('disconnected', 'Not connected');
    if (code === 0) return;
    if (document.body.dataset.view === 'join') view.problem(`The daemon has refused: ${explain(code, reason)}`);
    else view.note(`The daemon has ended the connection: ${explain(code, reason)}`, 'bad');
  });
  subscription.subscribe();
  client.connect();
}

function newClient(transport, server, token) {
  const { scheme, path } = TRANSPORTS[transport];
  const secure = /^(https|wss):\/\//.test(server);
  const host = server.replace(/^\w+:\/\//, '').replace(/\/+$/, '');
  const base = (plain) => `${plain}${secure ? 's' : ''}://${host}`;
  return new Centrifuge([{ transport, endpoint: base(scheme) + path }], {
    emulationEndpoint: `${base('http')}/emulation`,
    token,
    name: 'holdfast-chat',
  });
}

async function say() {
  const text = $('message').value.trim();
  if (!text) return;
  $('message').value = '';
  try {
    const took = await room.say(text);
    view.fact('publish', `${took.toFixed(1)} ms`);
  } catch (error) {
    // It is not lost: nobody likes to write twice.
    if (!$('message').value) $('message').value = text;
    view.note(`Not sent: ${explain(error.code, error.message)}`, 'bad');
  }
}

function leave() {
  client.disconnect();
  client = null;
  view.turnTo('join');
  $('channel').focus();
}

function kept(name) {
  try {
    return localStorage.getItem(`holdfast.chat.${name}`);
  } catch {
    return null;
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(`holdfast.chat.${name}`, value);
  } catch {
    // A browser that keeps nothing is fine.
  }
}
