// Emitter: events and who listens to them.

import { DISCONNECTED, PollError, UNSUBSCRIBED } from './errors.js';

export class Emitter {
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

export function eventually(emitter, good, isGood, bad, isBad) {
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
