// Poll client: Centrifuge's channels over HTTP long-polling, for programs that have neither WebSocket nor streams.
//
// In:  the address of `/connection/poll`; calls of the application.
// Out: events of the application's channels; each publication once and in order, across lost answers and lost sessions.
//
// Three parts: a Session carries commands and replies, whatever becomes of single requests; a Subscription keeps its
// position in a channel; a PollClient opens one session after the other and recovers the subscriptions. The protocol is
// described in docs/transports.md. No dependencies; only `setTimeout`, `Promise` and a way to POST are asked for.

// Codes of errors that do not come from the server.
export const TIMEOUT = 1;
export const REQUEST_FAILED = 2;
export const DISCONNECTED = 3;
export const UNSUBSCRIBED = 7;
export const SESSION_LOST = 11;
// An error of the server that a new token mends.
const TOKEN_EXPIRED = 109;
const BAD_REQUEST = 400;
const FORBIDDEN = 403;
const NOT_FOUND = 404;
const METHOD_NOT_ALLOWED = 405;
const TOO_LARGE = 413;

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

export class PollError extends Error {
  constructor(code, message, temporary = false) {
    super(message);
    this.name = 'PollError';
    this.code = code;
    this.temporary = temporary;
  }
}

// ---- Ways to POST. `post(url, text, timeoutMs)` gives `abort` and `answer`: a promise of `{ status, text, retryAfter }`.

// With `fetch`: browsers and Node. A body of plain text needs no preflight.
export function fetchPost(url, text, timeoutMs) {
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(), timeoutMs);
  const answer = (async () => {
    try {
      const options = { method: 'POST', body: text, headers: { 'Content-Type': 'text/plain' }, signal: control.signal };
      const response = await fetch(url, options);
      return { status: response.status, text: await response.text(), retryAfter: response.headers.get('Retry-After') };
    } finally {
      clearTimeout(timer);
    }
  })();
  return { answer, abort: () => control.abort() };
}

// With `wx.request`, or what has its shape: `new PollClient(url, { post: wxPost(wx) })`.
export function wxPost(wx) {
  return (url, text, timeoutMs) => {
    let task;
    const answer = new Promise((resolve, reject) => {
      task = wx.request({
        url,
        method: 'POST',
        data: text,
        header: { 'Content-Type': 'text/plain' },
        dataType: 'text',
        timeout: timeoutMs,
        success: ({ statusCode, data, header = {} }) => {
          const name = Object.keys(header).find((key) => key.toLowerCase() === 'retry-after');
          resolve({ status: statusCode, text: typeof data === 'string' ? data : JSON.stringify(data), retryAfter: header[name] });
        },
        fail: ({ errMsg }) => reject(new Error(errMsg)),
      });
    });
    return { answer, abort: () => task?.abort?.() };
  };
}

// ---- What all parts need.

class Emitter {
  #listeners = new Map();

  on(event, listener) {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event).add(listener);
    return this;
  }

  off(event, listener) {
    this.#listeners.get(event)?.delete(listener);
    return this;
  }

  // A listener's fault is its own: it is thrown where nothing of ours is waiting.
  emit(event, context) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        listener(context);
      } catch (error) {
        setTimeout(() => { throw error; }, 0);
      }
    }
  }
}

// Full jitter, so that many clients who lost the same server do not come back together.
const backoffMs = (step, { backoffMinMs: min, backoffMaxMs: max }) => (
  Math.min(max, min + Math.random() * Math.min(max, min * 2 ** Math.min(step, 31)))
);

// UTF-8, since limits are in bytes.
const bytesOf = (text) => {
  let bytes = text.length;
  for (const letter of text) {
    const code = letter.codePointAt(0);
    if (code > 0xffff) bytes += 2;
    else if (code > 0x7ff) bytes += 2;
    else if (code > 0x7f) bytes += 1;
  }
  return bytes;
};

// ---- Session: commands go out, replies come in, each once and in order, until the session is over.
//
// At most two requests are under way: one that waits, and one that carries commands meanwhile. A request carries every
// command of which it is not known that it has arrived, so commands keep their order whichever request comes first: the
// server passes over those that it has seen.

const REQUESTS_MAX = 2;
// What stands around the commands in a body.
const ENVELOPE_BYTES = 200;

class Session {
  #url;
  #options;
  #events;
  #id = '';
  #received = 0;
  #commands = [];
  #requests = new Set();
  #failures = 0;
  #retry = null;
  #answeredAt = Date.now();
  #isOver = false;

  // `events.reply(reply)`, `events.refused(ids, error)`, `events.trouble(error)`, and once `events.lost(end)`.
  constructor(url, options, events) {
    this.#url = url;
    this.#options = options;
    this.#events = events;
  }

  send(command) {
    const text = JSON.stringify(command);
    const bytes = bytesOf(text) + 1;
    if (bytes + ENVELOPE_BYTES > this.#options.requestBytesMax) {
      Promise.resolve().then(() => this.#events.refused([command.id], new PollError(TOO_LARGE, 'the message is too large')));
      return;
    }
    this.#commands.push({ id: command.id, text, bytes, isOnItsWay: false });
    // Later, so that what is sent in one go goes out in one request.
    Promise.resolve().then(() => this.#poll());
  }

  // Ends it from our side. The server forgets it by and by.
  end() {
    this.#isOver = true;
    clearTimeout(this.#retry);
    for (const request of this.#requests) request.abort();
    this.#requests.clear();
  }

  #poll() {
    const isOpening = !this.#id;
    if (this.#isOver || this.#retry || this.#requests.size >= (isOpening ? 1 : REQUESTS_MAX)) return;
    let bytes = ENVELOPE_BYTES;
    const carried = this.#commands.filter((command) => (bytes += command.bytes) <= this.#options.requestBytesMax);
    const hasNews = carried.some((command) => !command.isOnItsWay);
    if (!hasNews && (this.#requests.size > 0 || isOpening)) return;
    carried.forEach((command) => { command.isOnItsWay = true; });
    const commands = carried.map((command) => command.text).join(',');
    const body = `{"session":${JSON.stringify(this.#id)},"received":${this.#received},"commands":[${commands}]}`;
    const request = this.#options.post(this.#url, body, this.#options.pollTimeoutMs);
    this.#requests.add(request);
    request.answer
      .then((answer) => this.#answered(request, carried, answer), (error) => ({ failed: `no answer: ${error.message}` }))
      // An answer that cannot be read is as good as none: it comes again.
      .catch((error) => ({ failed: `no sense in the answer: ${error.message}` }))
      .then((outcome) => {
        this.#requests.delete(request);
        if (this.#isOver) return;
        if (outcome?.failed) this.#failed(carried, outcome.failed, outcome.retryAfter);
        this.#poll();
      });
  }

  #answered(request, carried, { status, text, retryAfter }) {
    if (this.#isOver) return undefined;
    if (status === 200) {
      const answer = JSON.parse(text);
      this.#requests.delete(request);
      this.#take(carried, answer);
      return undefined;
    }
    const words = text.trim().slice(0, 200) || `status ${status}`;
    if (status === NOT_FOUND && this.#id) {
      this.#lose({ code: SESSION_LOST, reason: words });
    } else if (status === TOO_LARGE && carried.length > 0 && this.#id) {
      this.#forget(carried);
      this.#events.refused(carried.map(({ id }) => id), new PollError(TOO_LARGE, words));
    } else if ([BAD_REQUEST, FORBIDDEN, METHOD_NOT_ALLOWED, TOO_LARGE].includes(status)) {
      this.#lose({ code: status, reason: words, isFinal: true });
    } else {
      return { failed: words, retryAfter };
    }
    return undefined;
  }

  // The server has these commands, and says something.
  #take(carried, { session, sequence, replies }) {
    this.#failures = 0;
    this.#answeredAt = Date.now();
    this.#id = session;
    this.#forget(carried);
    replies.forEach((reply, index) => {
      const number = sequence - replies.length + index + 1;
      // What two requests were told, and what an answer repeats, counts once.
      if (this.#isOver || number <= this.#received) return;
      this.#received = number;
      // A command that is answered has arrived, also where the answer to its own request is still on its way.
      if (reply.id) this.#forget(this.#commands.filter(({ id }) => id === reply.id));
      const end = reply.push?.disconnect;
      if (end) this.#lose({ code: end.code ?? 0, reason: end.reason ?? '', isFinal: isFinal(end.code ?? 0) });
      else this.#events.reply(reply);
    });
  }

  #failed(carried, words, retryAfter) {
    carried.forEach((command) => { command.isOnItsWay = false; });
    this.#events.trouble(new PollError(REQUEST_FAILED, words, true));
    const retryAfterMs = Math.min((Number(retryAfter) || 0) * 1000, this.#options.backoffMaxMs);
    // One that never opened is opened anew, and one that the server has forgotten by now.
    if (!this.#id || Date.now() - this.#answeredAt > this.#options.sessionTtlMs) {
      this.#lose({ code: REQUEST_FAILED, reason: words, retryAfterMs });
      return;
    }
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.#poll();
    }, Math.max(retryAfterMs, backoffMs(this.#failures, this.#options)));
    this.#failures += 1;
  }

  #forget(carried) {
    this.#commands = this.#commands.filter((command) => !carried.includes(command));
  }

  #lose(end) {
    this.end();
    this.#events.lost(end);
  }
}

// Centrifuge's ranges of codes after which a client stays away.
const isFinal = (code) => (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);

// ---- Subscription: one channel, and the position up to which it is known.

export class Subscription extends Emitter {
  #client;
  #options;
  #position = null;
  #token;
  #step = 0;
  #attempt = 0;
  #timer = null;
  #refresh = null;

  // Options: token, getToken, data, since ({ offset, epoch }), positioned, recoverable, joinLeave.
  constructor(client, channel, options) {
    super();
    this.#client = client;
    this.#options = options;
    this.#token = options.token ?? '';
    this.#position = options.since ? { ...options.since } : null;
    this.channel = channel;
    this.state = 'unsubscribed';
  }

  subscribe() {
    if (this.state !== 'unsubscribed') return;
    this.state = 'subscribing';
    this.emit('subscribing', { channel: this.channel });
    this.#try();
  }

  unsubscribe() {
    if (this.state === 'unsubscribed') return;
    // Also where the reply is still on its way. Without a session there is nothing to end.
    this.#client._ask('unsubscribe', { channel: this.channel }, () => {});
    this._end(0, 'unsubscribe called');
  }

  // Resolves when it is subscribed; fails where it is not to be.
  ready() {
    return eventually(this, 'subscribed', () => this.state === 'subscribed', 'unsubscribed', () => this.state === 'unsubscribed');
  }

  async publish(data) {
    await this.ready();
    return this.#client.publish(this.channel, data);
  }

  async presence() {
    await this.ready();
    return this.#client.presence(this.channel);
  }

  async presenceStats() {
    await this.ready();
    return this.#client.presenceStats(this.channel);
  }

  async history(options) {
    await this.ready();
    return this.#client.history(this.channel, options);
  }

  // What follows is for the client alone.

  // An attempt to subscribe: what comes of an older one does not count any more.
  _begin() {
    this.#attempt += 1;
    return this.#attempt;
  }

  _isAt(attempt) {
    return this.state === 'subscribing' && this.#attempt === attempt;
  }

  // The request, with a token where one is needed.
  async _request() {
    const { data, positioned, recoverable, joinLeave, getToken } = this.#options;
    if (!this.#token && getToken) this.#token = await getToken({ channel: this.channel });
    return {
      channel: this.channel,
      ...(this.#token && { token: this.#token }),
      ...(data !== undefined && { data }),
      ...(positioned && { positioned }),
      ...(recoverable && { recoverable }),
      ...(joinLeave && { join_leave: true }),
      ...(this.#position && { recover: true, offset: this.#position.offset, epoch: this.#position.epoch }),
    };
  }

  _subscribed(result) {
    this.#step = 0;
    this.state = 'subscribed';
    const { recoverable = false, positioned = false, recovered = false, was_recovering: wasRecovering = false } = result;
    const hadPosition = this.#position;
    const position = { offset: result.offset ?? 0, epoch: result.epoch ?? '' };
    // Where it was recovered, the position moves on with what is recovered.
    if (recoverable || positioned) this.#position = recovered && hadPosition ? { ...hadPosition, epoch: position.epoch } : position;
    else this.#position = null;
    this.emit('subscribed', { channel: this.channel, recoverable, positioned, recovered, wasRecovering, data: result.data });
    (result.publications ?? []).forEach((publication) => this._publication(publication));
    if (result.expires) this.#refreshIn(result.ttl);
  }

  _refused(error) {
    this.emit('error', { channel: this.channel, error });
    const isTokenOld = error.code === TOKEN_EXPIRED && this.#options.getToken;
    if (isTokenOld) this.#token = '';
    if (isTokenOld || error.temporary || error.code < 100) this.#tryLater();
    else this._end(error.code, error.message);
  }

  // The session is lost; the next one recovers it.
  _lost() {
    clearTimeout(this.#refresh);
    clearTimeout(this.#timer);
    if (this.state !== 'subscribed') return;
    this.state = 'subscribing';
    this.emit('subscribing', { channel: this.channel });
  }

  // The server ends the subscription: for good, or until we ask again.
  _unsubscribed(code, reason) {
    if (code < 2500) {
      this._end(code, reason);
      return;
    }
    this._lost();
    this.#try();
  }

  _publication(publication) {
    if (this.state !== 'subscribed') return;
    const { offset = 0 } = publication;
    if (this.#position && offset) {
      if (offset <= this.#position.offset) return;
      this.#position.offset = offset;
    }
    this.emit('publication', asPublication(this.channel, publication));
  }

  _end(code, reason) {
    clearTimeout(this.#timer);
    clearTimeout(this.#refresh);
    this.state = 'unsubscribed';
    this.#position = this.#options.since ? { ...this.#options.since } : null;
    this.emit('unsubscribed', { channel: this.channel, code, reason });
  }

  #try() {
    clearTimeout(this.#timer);
    this.#client._subscribe(this);
  }

  #tryLater() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#try(), backoffMs(this.#step, this.#client.options));
    this.#step += 1;
  }

  #refreshIn(ttl) {
    clearTimeout(this.#refresh);
    const { getToken } = this.#options;
    if (!getToken) return;
    this.#refresh = later(ttl, async () => {
      this.#token = await getToken({ channel: this.channel });
      const { expires, ttl: next } = await this.#client._call('sub_refresh', { channel: this.channel, token: this.#token });
      if (expires) this.#refreshIn(next);
    }, (error) => this.emit('error', { channel: this.channel, error }));
  }
}

// ---- Client: one session after the other, and what is the same in all of them.

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

// ---- Small things.

function asInfo({ client = '', user = '', conn_info: connInfo, chan_info: chanInfo } = {}) {
  return { client, user, connInfo, chanInfo };
}

function asPublication(channel, { data, offset = 0, info, tags, time }) {
  return { channel, data, offset, info: info && asInfo(info), tags, time };
}

function asError(error) {
  if (error instanceof PollError) return error;
  return new PollError(error.code ?? 0, error.message ?? String(error), error.temporary ?? error.code === undefined);
}

// Timers hold 31 bits of milliseconds; a token that lives longer than that is renewed early.
function later(seconds, work, failed) {
  return setTimeout(() => work().catch((error) => failed(asError(error))), Math.min(Math.max(seconds, 1), 2_000_000) * 1000);
}

function eventually(emitter, good, isGood, bad, isBad) {
  if (isGood()) return Promise.resolve();
  if (isBad()) return Promise.reject(new PollError(bad === 'disconnected' ? DISCONNECTED : UNSUBSCRIBED, bad));
  return new Promise((resolve, reject) => {
    const done = () => {
      emitter.off(good, succeed);
      emitter.off(bad, fail);
    };
    const succeed = () => { done(); resolve(); };
    const fail = ({ code, reason }) => { done(); reject(new PollError(code || DISCONNECTED, reason)); };
    emitter.on(good, succeed);
    emitter.on(bad, fail);
  });
}
