// Session: commands go out, replies come in, each once and in order, until the session is over.
//
// At most two requests are under way: one that waits, and one that carries commands meanwhile. A request carries every
// command of which it is not known that it has arrived, so commands keep their order whichever request comes first: the
// server passes over those that it has seen.

import { PollError, REQUEST_FAILED, SESSION_LOST, isFinal } from './errors.js';
import { backoffMs } from './time.js';

const BAD_REQUEST = 400;
const FORBIDDEN = 403;
const NOT_FOUND = 404;
const METHOD_NOT_ALLOWED = 405;
const TOO_LARGE = 413;

export const REQUESTS_MAX = 2;
// What stands around the commands in a body.
export const ENVELOPE_BYTES = 200;

export class Session {
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
