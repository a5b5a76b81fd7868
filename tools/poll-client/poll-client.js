// Poll client: Centrifuge's channels over HTTP long-polling, for programs that have neither WebSocket nor streams.
//
// In:  the address of `/connection/poll`; calls of the application.
// Out: events of the application's channels; each publication once and in order, across lost answers and lost sessions.
//
// Three parts: a Session (`session.js`) carries commands and replies, whatever becomes of single requests; a Subscription
// (`subscription.js`) keeps its position in a channel; a PollClient opens one session after the other and recovers the
// subscriptions. The protocol is described in docs/transports.md. No dependencies; only `setTimeout`, `Promise` and a way
// to POST (`post.js`) are asked for.

import { DISCONNECTED, PollError, SESSION_LOST, TIMEOUT, TOKEN_EXPIRED, asError, isFinal } from './errors.js';
import { fetchPost } from './post.js';
import { Emitter, eventually } from './emitter.js';
import { backoffMs, later } from './time.js';
import { asInfo, asPublication } from './info.js';
import { Session } from './session.js';
import { Subscription } from './subscription.js';

export { DISCONNECTED, PollError, REQUEST_FAILED, SESSION_LOST, TIMEOUT, UNSUBSCRIBED } from './errors.js';
export { fetchPost, wxPost } from './post.js';
export { Subscription } from './subscription.js';

const DEFAULTS = {
  token: '',
  // Called for a (new) token; may return a promise.
  getToken: null,
  data: undefined,
  name: 'poll-js',
  version: '',
  // How to POST; see fetchPost and wxPost.
  post: null,
  // How long a command may take.
  timeoutMs: 10_000,
  // How long a poll may take: the server's `poll.wait`, and as long as an answer may be on its way.
  pollTimeoutMs: 40_000,
  // How long the server keeps a session that nobody polls: `poll.session_ttl`.
  sessionTtlMs: 30_000,
  // The server's `poll.max_request_body_size`.
  requestBytesMax: 64 * 1024,
  backoffMinMs: 500,
  backoffMaxMs: 20_000,
};

// Client: one session after the other, and what is the same in all of them.

export class PollClient extends Emitter {
  #url;
  #session = null;
  #state = 'disconnected';
  #token;
  #subscriptions = new Map();
  // Channels that the server subscribed us to, with their positions.
  #given = new Map();
  #calls = new Map();
  #lastId = 0;
  #step = 0;
  #timer = null;
  #refresh = null;

  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.options = { ...DEFAULTS, ...options };
    this.options.post ??= fetchPost;
    this.#token = this.options.token;
  }

  get state() {
    return this.#state;
  }

  connect() {
    if (this.#state !== 'disconnected') return;
    this.#step = 0;
    this.#turnTo('connecting', { code: 0, reason: 'connect called' });
    this.#open();
  }

  disconnect() {
    if (this.#state !== 'disconnected') this.#end(0, 'disconnect called');
  }

  // Resolves when it is connected; fails where it is not to be.
  ready() {
    return eventually(this, 'connected', () => this.#state === 'connected', 'disconnected', () => this.#state === 'disconnected');
  }

  newSubscription(channel, options = {}) {
    if (this.#subscriptions.has(channel)) throw new Error(`there is a subscription to ${channel} already`);
    const subscription = new Subscription(this, channel, options);
    this.#subscriptions.set(channel, subscription);
    return subscription;
  }

  getSubscription(channel) {
    return this.#subscriptions.get(channel) ?? null;
  }

  removeSubscription(subscription) {
    subscription.unsubscribe();
    this.#subscriptions.delete(subscription.channel);
  }

  async publish(channel, data) {
    await this.ready();
    await this._call('publish', { channel, data });
  }

  async presence(channel) {
    await this.ready();
    const { presence = {} } = await this._call('presence', { channel });
    return { clients: Object.fromEntries(Object.entries(presence).map(([id, info]) => [id, asInfo(info)])) };
  }

  async presenceStats(channel) {
    await this.ready();
    const { num_clients: numClients = 0, num_users: numUsers = 0 } = await this._call('presence_stats', { channel });
    return { numClients, numUsers };
  }

  // Options: limit, since ({ offset, epoch }), reverse.
  async history(channel, options = {}) {
    await this.ready();
    const { publications = [], offset = 0, epoch = '' } = await this._call('history', { channel, ...options });
    return { publications: publications.map((publication) => asPublication(channel, publication)), offset, epoch };
  }

  async rpc(method, data) {
    await this.ready();
    const { data: answer } = await this._call('rpc', { method, data });
    return { data: answer };
  }

  // What follows is for subscriptions alone.

  // Sends a command. `done(error, result)` is called before anything is heard that came after the reply.
  _ask(method, params, done) {
    if (!this.#session) {
      done(new PollError(DISCONNECTED, 'not connected'));
      return;
    }
    this.#lastId += 1;
    const id = this.#lastId;
    const timer = setTimeout(() => this.#settle(id, new PollError(TIMEOUT, 'timeout', true)), this.options.timeoutMs);
    this.#calls.set(id, { method, done, timer });
    this.#session.send({ id, [method]: params });
  }

  _call(method, params) {
    return new Promise((resolve, reject) => {
      this._ask(method, params, (error, result) => (error ? reject(error) : resolve(result)));
    });
  }

  async _subscribe(subscription) {
    // Those who come before the session is open are taken along when it opens.
    if (this.#state !== 'connected') return;
    const session = this.#session;
    const attempt = subscription._begin();
    const isOld = () => this.#session !== session || !subscription._isAt(attempt);
    let request;
    try {
      request = await subscription._request();
    } catch (error) {
      if (!isOld()) subscription._refused(asError(error));
      return;
    }
    if (isOld()) return;
    this._ask('subscribe', request, (error, result) => {
      if (isOld()) return;
      if (error) subscription._refused(error);
      else subscription._subscribed(result);
    });
  }

  async #open() {
    clearTimeout(this.#timer);
    const { options } = this;
    try {
      if (!this.#token && options.getToken) this.#token = await options.getToken({});
    } catch (error) {
      this.emit('error', { error: asError(error) });
      this.#openLater();
      return;
    }
    if (this.#state !== 'connecting') return;
    const session = new Session(this.#url, options, {
      reply: (reply) => this.#hear(reply),
      refused: (ids, error) => ids.forEach((id) => this.#settle(id, error)),
      trouble: (error) => this.emit('error', { error }),
      lost: (end) => this.#lost(end),
    });
    this.#session = session;
    this.#lastId = 0;
    const subs = [...this.#given].filter(([, position]) => position.recoverable)
      .map(([channel, { offset, epoch }]) => [channel, { recover: true, offset, epoch }]);
    const request = {
      ...(this.#token && { token: this.#token }),
      ...(options.data !== undefined && { data: options.data }),
      ...(subs.length > 0 && { subs: Object.fromEntries(subs) }),
      name: options.name,
      ...(options.version && { version: options.version }),
    };
    this._ask('connect', request, (error, result) => {
      if (this.#session !== session) return;
      if (error) this.#refusedToOpen(error);
      else this.#opened(result);
    });
  }

  #opened(result) {
    this.#step = 0;
    this.#turnTo('connected', { client: result.client, data: result.data, version: result.version, transport: 'poll' });
    if (result.expires) this.#refreshIn(result.ttl);
    const subs = result.subs ?? {};
    for (const channel of [...this.#given.keys()]) {
      if (!(channel in subs)) this.#takeBack(channel);
    }
    for (const [channel, sub] of Object.entries(subs)) this.#give(channel, sub);
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.state === 'subscribing') this._subscribe(subscription);
    }
  }

  #refusedToOpen(error) {
    this.emit('error', { error });
    const isTokenOld = error.code === TOKEN_EXPIRED && this.options.getToken;
    if (isTokenOld) this.#token = '';
    if (isTokenOld || error.temporary || error.code < 100) this.#lost({ code: error.code, reason: error.message });
    else this.#end(error.code, error.message);
  }

  // The session is over. What was asked in it fails: whether it was done, nobody knows.
  #lost({ code, reason, isFinal: isForGood = false, retryAfterMs = 0 }) {
    if (isForGood) {
      this.#end(code, reason);
      return;
    }
    const wasConnected = this.#state === 'connected';
    this.#close(reason);
    if (wasConnected) this.#turnTo('connecting', { code, reason });
    this.#openLater(retryAfterMs);
  }

  #end(code, reason) {
    this.#close(reason);
    clearTimeout(this.#timer);
    this.#turnTo('disconnected', { code, reason });
  }

  #close(reason) {
    const session = this.#session;
    this.#session = null;
    session?.end();
    clearTimeout(this.#refresh);
    for (const id of [...this.#calls.keys()]) this.#settle(id, new PollError(SESSION_LOST, reason, true));
    this.#subscriptions.forEach((subscription) => subscription._lost());
  }

  #openLater(atLeastMs = 0) {
    if (this.#state !== 'connecting') return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), Math.max(atLeastMs, backoffMs(this.#step, this.options)));
    this.#step += 1;
  }

  #turnTo(state, context) {
    this.#state = state;
    this.emit(state, context);
  }

  #refreshIn(ttl) {
    clearTimeout(this.#refresh);
    const { getToken } = this.options;
    if (!getToken) return;
    this.#refresh = later(ttl, async () => {
      this.#token = await getToken({});
      const { expires, ttl: next } = await this._call('refresh', { token: this.#token });
      if (expires) this.#refreshIn(next);
    }, (error) => this.emit('error', { error }));
  }

  #settle(id, error, result) {
    const call = this.#calls.get(id);
    if (!call) return;
    this.#calls.delete(id);
    clearTimeout(call.timer);
    call.done(error, result);
  }

  #hear(reply) {
    if (reply.push) {
      this.#hearPush(reply.push);
      return;
    }
    const { id, error } = reply;
    if (error) this.#settle(id, asError(error));
    else this.#settle(id, null, reply[this.#calls.get(id)?.method] ?? {});
  }

  #hearPush(push) {
    const { channel = '' } = push;
    const subscription = this.#subscriptions.get(channel);
    const target = subscription ?? this;
    if (push.pub) {
      if (subscription) subscription._publication(push.pub);
      else this.#givenPublication(channel, push.pub);
    } else if (push.join) {
      target.emit('join', { channel, info: asInfo(push.join.info) });
    } else if (push.leave) {
      target.emit('leave', { channel, info: asInfo(push.leave.info) });
    } else if (push.unsubscribe) {
      if (subscription) subscription._unsubscribed(push.unsubscribe.code ?? 0, push.unsubscribe.reason ?? '');
      else this.#takeBack(channel);
    } else if (push.subscribe) {
      this.#give(channel, push.subscribe);
    } else if (push.message) {
      this.emit('message', { data: push.message.data });
    } else if (push.refresh) {
      if (push.refresh.expires) this.#refreshIn(push.refresh.ttl);
    }
  }

  // The server has subscribed us to a channel.
  #give(channel, { recoverable = false, recovered = false, offset = 0, epoch = '', publications = [], data, was_recovering: wasRecovering = false }) {
    const known = this.#given.get(channel);
    this.#given.set(channel, { recoverable, offset: recovered && known ? known.offset : offset, epoch });
    this.emit('subscribed', { channel, recoverable, recovered, wasRecovering, data });
    publications.forEach((publication) => this.#givenPublication(channel, publication));
  }

  #takeBack(channel) {
    if (this.#given.delete(channel)) this.emit('unsubscribed', { channel });
  }

  #givenPublication(channel, publication) {
    const position = this.#given.get(channel);
    const { offset = 0 } = publication;
    if (position?.recoverable && offset) {
      if (offset <= position.offset) return;
      position.offset = offset;
    }
    this.emit('publication', asPublication(channel, publication));
  }
}
