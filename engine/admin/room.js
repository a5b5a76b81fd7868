// Room: one channel, as a chat.
//
// In:  a subscription of the SDK.
// Out: to the view: every message once and in order, who is there, and what went wrong.
//
// History and live messages meet here. What comes while history is being read waits for it; where the channel counts its
// messages (offsets), nothing is shown twice. What a message holds is data: the view never takes it for markup.

import { explain } from './hints.js';

const HISTORY_MESSAGES = 50;
const NOT_AVAILABLE = 108;
const NOT_PERMITTED = 103;

export class Room {
  #subscription;
  #view;
  #ownName;
  // Ids that this page's connections have had: each new connection has its own.
  #ownIds = new Set();
  #names = new Map();
  #people = new Map();
  #epoch = '';
  #offset = 0;
  // Messages that wait for the history; null where they need not.
  #waiting = null;

  constructor(subscription, view, ownName) {
    this.#subscription = subscription;
    this.#view = view;
    this.#ownName = ownName;
    subscription.on('publication', (publication) => this.#hear(publication));
    subscription.on('subscribed', (context) => this.#enter(context));
    subscription.on('join', ({ info }) => this.#came(info));
    subscription.on('leave', ({ info }) => this.#went(info));
    subscription.on('error', ({ error }) => view.note(`Cannot join: ${explain(error.code, error.message)}`, 'bad'));
    subscription.on('unsubscribed', ({ code, reason }) => {
      if (code !== 0) view.note(`The channel is closed to you: ${explain(code, reason)}`, 'bad');
    });
  }

  // A new connection of this page.
  connectedAs(id) {
    this.#ownIds.add(id);
    this.#names.set(id, this.#ownName);
  }

  // Publishes a line; resolves to how many milliseconds that took.
  async say(text) {
    const began = performance.now();
    await this.#subscription.publish({ name: this.#ownName, text, at: Date.now() });
    return performance.now() - began;
  }

  async #enter({ recovered, wasRecovering }) {
    if (wasRecovering && !recovered) this.#view.note('The connection was away for longer than the history remembers.');
    this.#meetPeople();
    if (recovered) return;
    this.#waiting = [];
    try {
      const { publications, epoch, offset } = await this.#subscription.history({ limit: HISTORY_MESSAGES, reverse: true });
      if (epoch !== this.#epoch) {
        this.#epoch = epoch;
        this.#offset = 0;
      }
      publications.reverse().forEach((publication) => this.#show(publication));
      this.#moveTo(offset);
    } catch (error) {
      this.#explainHistory(error);
    }
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting.forEach((publication) => this.#show(publication));
  }

  #explainHistory({ code, message }) {
    if (code === NOT_AVAILABLE) this.#view.note('This channel keeps no history: you hear what is said from now on.');
    else if (code === NOT_PERMITTED) this.#view.note('You may not read this channel’s history: you hear what is said from now on.');
    else this.#view.note(`The history cannot be read: ${explain(code, message)}`, 'bad');
  }

  #hear(publication) {
    if (this.#waiting) this.#waiting.push(publication);
    else this.#show(publication);
  }

  #show({ data, info, offset }) {
    if (offset && offset <= this.#offset) return;
    if (offset) this.#moveTo(offset);
    const isOurs = typeof data?.text === 'string';
    const said = typeof data?.name === 'string' ? data.name.slice(0, 32) : '';
    if (info && said) this.#learn(info.client, said);
    this.#view.message({
      author: info?.client ?? 'backend',
      name: said || this.#nameOf(info),
      isOwn: this.#ownIds.has(info?.client),
      text: isOurs ? data.text : JSON.stringify(data, null, 2),
      isJson: !isOurs,
      at: Number.isFinite(data?.at) ? new Date(data.at) : null,
    });
  }

  #moveTo(offset) {
    this.#offset = Math.max(this.#offset, offset ?? 0);
    this.#view.fact('position', this.#offset || '–');
  }

  async #meetPeople() {
    try {
      const { clients } = await this.#subscription.presence();
      this.#people = new Map(Object.entries(clients));
      this.#showPeople();
    } catch (error) {
      const why = error.code === NOT_PERMITTED ? 'You may not see who is here.' : 'This channel does not tell who is here.';
      this.#view.nobodyKnown(why);
    }
  }

  #came(info) {
    if (this.#ownIds.has(info.client)) return;
    this.#people.set(info.client, info);
    this.#showPeople();
    this.#view.noteAbout(info.client, this.#nameOf(info), 'came in');
  }

  #went(info) {
    if (this.#ownIds.has(info.client)) return;
    this.#people.delete(info.client);
    this.#showPeople();
    this.#view.noteAbout(info.client, this.#nameOf(info), 'left');
  }

  #learn(client, name) {
    if (this.#names.get(client) === name || this.#ownIds.has(client)) return;
    this.#names.set(client, name);
    this.#view.rename(client, name);
    if (this.#people.has(client)) this.#showPeople();
  }

  // What somebody calls themselves, else their user, else the beginning of their client's id.
  #nameOf(info) {
    if (!info) return 'Server';
    return this.#names.get(info.client) ?? (info.user || `guest ${info.client.slice(0, 4)}`);
  }

  #showPeople() {
    const people = [...this.#people.values()].map((info) => ({
      id: info.client,
      name: this.#nameOf(info),
      isOwn: this.#ownIds.has(info.client),
    }));
    people.sort((a, b) => b.isOwn - a.isOwn || a.name.localeCompare(b.name));
    this.#view.people(people);
  }
}
