// Subscription: one channel, and the position up to which it is known.

import { TOKEN_EXPIRED } from './errors.js';
import { Emitter, eventually } from './emitter.js';
import { backoffMs, later } from './time.js';
import { asPublication } from './info.js';

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
