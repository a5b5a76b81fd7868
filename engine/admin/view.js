// View: the page's elements.
//
// In:  what there is to show, as data.
// Out: elements. All text is set as text (textContent): whatever somebody publishes, it stays text.
//
// The log is bounded: the oldest lines go.

const LOG_LINES_MAX = 500;
const NEAR_THE_END_PX = 80;
const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

export const $ = (id) => document.getElementById(id);

export class View {
  #log = $('log');
  #lastAuthor = null;

  constructor() {
    const isWide = matchMedia('(min-width: 48.001rem)');
    const unfold = () => { $('side').open = isWide.matches; };
    isWide.addEventListener('change', unfold);
    unfold();
    this.#log.addEventListener('scroll', () => {
      if (this.#isAtTheEnd()) $('newer').hidden = true;
    });
    $('newer').addEventListener('click', () => this.#toTheEnd());
  }

  // The form to join with, or the chat.
  turnTo(view, title = 'Chat') {
    document.body.dataset.view = view;
    $('join').hidden = view !== 'join';
    $('chat').hidden = view !== 'chat';
    $('leave').hidden = view !== 'chat';
    $('title').textContent = title;
    document.title = view === 'chat' ? `${title} · Holdfast chat` : 'Holdfast chat';
  }

  empty() {
    this.#log.replaceChildren();
    this.#lastAuthor = null;
    $('newer').hidden = true;
    this.people([]);
    for (const name of ['transport', 'client', 'position', 'publish']) this.fact(name, '–');
  }

  state(state, words) {
    $('state').dataset.state = state;
    $('state-text').textContent = words;
  }

  problem(words) {
    $('problem').textContent = words;
    $('problem').hidden = !words;
  }

  fact(name, value) {
    const element = $(`fact-${name}`);
    element.textContent = value;
    element.title = value;
  }

  message({ author, name, isOwn, text, isJson, at }) {
    const line = create('li', 'message');
    line.classList.toggle('own', isOwn);
    line.classList.toggle('follows', this.#lastAuthor === author);
    const byline = create('div', 'byline');
    byline.append(create('span', 'who', name));
    if (at) {
      const stamp = create('time', '', time.format(at));
      stamp.dateTime = at.toISOString();
      byline.append(stamp);
    }
    line.append(avatar(author, name), byline, create('div', isJson ? 'bubble json' : 'bubble', text));
    this.#append(line, isOwn);
    this.#lastAuthor = author;
  }

  note(words, kind = '') {
    this.#append(create('li', `note ${kind}`, words), false);
    this.#lastAuthor = null;
  }

  // A note about somebody, whose name may become known later.
  noteAbout(id, name, words) {
    const line = create('li', 'note');
    const who = create('span', '', name);
    who.dataset.person = id;
    line.append(who, ` ${words}`);
    this.#append(line, false);
    this.#lastAuthor = null;
  }

  // Somebody's name has become known.
  rename(id, name) {
    for (const who of this.#log.querySelectorAll('[data-person]')) {
      if (who.dataset.person === id) who.textContent = name;
    }
  }

  people(people) {
    $('people-hint').hidden = true;
    $('people-count').textContent = people.length;
    $('people').replaceChildren(...people.map(({ id, name, isOwn }) => {
      const line = create('li');
      line.append(avatar(id, name), create('span', 'who', name));
      if (isOwn) line.append(create('span', 'you', 'you'));
      return line;
    }));
  }

  nobodyKnown(why) {
    this.people([]);
    $('people-count').textContent = '–';
    $('people-hint').textContent = why;
    $('people-hint').hidden = false;
  }

  #append(line, isOwn) {
    const follow = isOwn || this.#isAtTheEnd();
    this.#log.append(line);
    while (this.#log.childElementCount > LOG_LINES_MAX) this.#log.firstElementChild.remove();
    if (follow) this.#toTheEnd();
    else $('newer').hidden = false;
  }

  #isAtTheEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    return scrollHeight - scrollTop - clientHeight < NEAR_THE_END_PX;
  }

  #toTheEnd() {
    this.#log.scrollTop = this.#log.scrollHeight;
    $('newer').hidden = true;
  }
}

function create(tag, className = '', text = '') {
  const element = document.createElement(tag);
  if (className) element.className = className.trim();
  if (text) element.textContent = text;
  return element;
}

// A circle with a first letter, in a color that is always the same for the same person.
function avatar(id, name) {
  const element = create('span', 'avatar', [...name.trim()][0]?.toUpperCase() ?? '?');
  let sum = 0;
  for (const letter of name || id) sum = (sum * 31 + letter.codePointAt(0)) % 4096;
  // The golden angle: numbers that are near each other make colors that are not.
  element.style.setProperty('--hue', Math.round(sum * 137.508) % 360);
  element.setAttribute('aria-hidden', 'true');
  return element;
}
