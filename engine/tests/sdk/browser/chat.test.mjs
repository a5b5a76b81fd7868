// The chat page in a browser: two people talk through a real daemon.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { api, config, eventually, newPage, startDaemon } from './harness.mjs';

const CONFIG = config('chat.toml');
const SHOTS = process.env.SDK_SHOTS ?? 'shots';
mkdirSync(SHOTS, { recursive: true });

let daemon;
let unserved = 'the daemon does not answer';
before(async () => {
  daemon = await startDaemon(CONFIG);
  const { status } = await fetch(`http://${daemon.control}/centrifuge.js`);
  unserved = status === 200 ? false : 'the daemon was built without the page’s client (tools/setup-chat, then build again)';
  if (unserved && process.env.CI === 'true') throw new Error(unserved);
});
after(() => daemon.stop());

// A test of what only a page with its client can do.
const talks = (name, test) => it(name, async (context) => {
  if (unserved) context.skip(unserved);
  else await test();
});

const texts = (page, selector) => page.$$eval(selector, (elements) => elements.map((element) => element.textContent));
const bubbles = (page) => texts(page, '.bubble');
const people = (page) => texts(page, '.people .who');
const shot = (page, name) => page.screenshot({ path: `${SHOTS}/chat-${name}.png` });

async function open(page, { control } = daemon, query = '') {
  await page.goto(`http://${control}/${query}`);
  await page.waitForFunction(() => document.querySelector('#transport').options.length > 0);
}

async function fill(page, values) {
  for (const [id, value] of Object.entries(values)) {
    await page.$eval(`#${id}`, (element, text) => { element.value = text; }, value);
  }
  await page.$eval('#join-form', (form) => form.requestSubmit());
}

async function join(page, values, where = daemon) {
  await open(page, where);
  await fill(page, values);
  await page.waitForSelector('#chat:not([hidden])');
}

async function say(page, text) {
  await page.type('#message', text);
  await page.keyboard.press('Enter');
}

const hears = (page, text) => eventually(`"${text}" comes`, async () => (await bubbles(page)).includes(text));
const notes = async (page, pattern) => eventually(`a note says ${pattern}`, async () => (await texts(page, '.note')).some((note) => pattern.test(note)));

describe('the chat page', () => {
  talks('two people talk, see each other, and one who comes later reads what was said', async () => {
    const channel = 'chat:two';
    const [ada, grace] = [await newPage(), await newPage({ scheme: 'dark' })];
    await join(ada, { name: 'Ada', channel });
    await say(ada, 'Is anybody there?');
    await hears(ada, 'Is anybody there?');
    await join(grace, { name: 'Grace', channel });
    await hears(grace, 'Is anybody there?');
    await notes(ada, /came in/);
    await say(grace, 'I am!');
    await hears(ada, 'I am!');
    await notes(ada, /^Grace came in$/);
    await eventually('both are shown to both', async () => (
      (await people(ada)).join() === 'Ada,Grace' && (await people(grace)).join() === 'Grace,Ada'
    ));
    assert.deepEqual(await bubbles(ada), ['Is anybody there?', 'I am!']);
    assert.deepEqual(await bubbles(grace), ['Is anybody there?', 'I am!']);
    assert.deepEqual(await texts(ada, '.own .bubble'), ['Is anybody there?']);
    assert.equal(await ada.$eval('#state-text', (element) => element.textContent), 'Connected');
    await grace.click('#leave');
    await notes(ada, /Grace left/);
    await eventually('Ada is alone', async () => (await people(ada)).join() === 'Ada');
    for (const page of [ada, grace]) {
      assert.deepEqual(page.faults, []);
      assert.deepEqual([...page.hosts].filter((host) => ![daemon.control, daemon.listen].includes(host)), []);
    }
  });

  talks('what somebody publishes stays text', async () => {
    const channel = 'chat:markup';
    const page = await newPage();
    await join(page, { name: '<b>Eve</b>', channel });
    const markup = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
    await say(page, markup);
    await hears(page, markup);
    const foreign = { name: '<i>x</i>', text: '<u>y</u>' };
    await api(daemon, 'publish', { channel, data: foreign });
    await hears(page, '<u>y</u>');
    await api(daemon, 'publish', { channel, data: { any: ['<p>', 1] } });
    await eventually('JSON comes', async () => (await texts(page, '.bubble.json')).length === 1);
    assert.equal(await page.$$eval('.log img, .log script, .log i, .log u, .log p', (found) => found.length), 0);
    assert.match(await page.title(), /^chat:markup/);
    assert.deepEqual(page.faults, []);
  });

  talks('who is sent away for a moment comes back, and has missed nothing', async () => {
    const channel = 'chat:back';
    const token = execFileSync(process.env.SDK_HOLDFAST, [
      'token', 'gen', '--config', new URL('chat.toml', import.meta.url).pathname, '--user', 'ada',
    ], { encoding: 'utf8' }).trim();
    const page = await newPage();
    await join(page, { name: 'Ada', channel, token });
    await api(daemon, 'publish', { channel, data: { name: 'Server', text: 'one' } });
    await hears(page, 'one');
    await api(daemon, 'disconnect', { user: 'ada', disconnect: { code: 3000, reason: 'for a test' } });
    await api(daemon, 'publish', { channel, data: { name: 'Server', text: 'two' } });
    await notes(page, /interrupted: for a test/);
    await hears(page, 'two');
    await api(daemon, 'publish', { channel, data: { name: 'Server', text: 'three' } });
    await hears(page, 'three');
    assert.deepEqual(await bubbles(page), ['one', 'two', 'three']);
    assert.equal(await page.$eval('#state', (element) => element.dataset.state), 'connected');
    await api(daemon, 'disconnect', { user: 'ada', disconnect: { code: 4500, reason: 'enough' } });
    await notes(page, /ended the connection: enough/);
    assert.equal(await page.$eval('#state', (element) => element.dataset.state), 'disconnected');
  });

  talks('a channel for listening says what it does not have, and a refused message is not lost', async () => {
    const page = await newPage();
    await join(page, { name: 'Ada', channel: 'listen:news' });
    await notes(page, /history/);
    await eventually('it says why nobody is listed', () => page.$eval('#people-hint', (hint) => !hint.hidden));
    await say(page, 'hello');
    await notes(page, /Not sent: permission denied/);
    assert.equal(await page.$eval('#message', (input) => input.value), 'hello');
    await api(daemon, 'publish', { channel: 'listen:news', data: 'extra, extra' });
    await eventually('it comes', async () => (await texts(page, '.bubble.json')).length === 1);
  });

  talks('an unknown namespace and a wrong token are explained', async () => {
    const page = await newPage();
    await join(page, { name: 'Ada', channel: 'nowhere:1' });
    await notes(page, /unknown channel \(102\).*channel\.namespaces/);
    await open(page);
    await fill(page, { name: 'Ada', channel: 'chat:1', token: 'wrong' });
    await eventually('it is told', () => page.$eval('#problem', (problem) => !problem.hidden && problem.textContent.includes('3500')));
  });

  talks('people talk over every transport that the page offers', async () => {
    const channel = 'chat:transports';
    const labels = { websocket: 'WebSocket', http_stream: 'HTTP streaming', sse: 'Server-sent events' };
    const pages = [];
    for (const transport of Object.keys(labels)) {
      const page = await newPage();
      await join(page, { name: transport, channel, transport });
      assert.equal(await page.$eval('#fact-transport', (fact) => fact.textContent), labels[transport]);
      pages.push(page);
    }
    assert.deepEqual(await pages[0].$$eval('#transport option', (options) => options.map(({ value }) => value)), Object.keys(labels));
    for (const page of pages) {
      const text = `number ${pages.indexOf(page)}`;
      await say(page, text);
      for (const other of pages) await hears(other, text);
    }
    for (const page of pages) assert.deepEqual([await bubbles(page), page.faults], [['number 0', 'number 1', 'number 2'], []]);
  });

  talks('a page whose origin is not allowed says what to add', async () => {
    const closed = await startDaemon(CONFIG.replace('allowed_origins', '# allowed_origins'));
    const page = await newPage();
    await open(page, closed);
    assert.equal(await page.$eval('#no-origin', (notice) => notice.hidden), false);
    assert.equal(await page.$eval('#origin', (code) => code.textContent), `[client]\nallowed_origins = ["http://${closed.control}"]`);
    await shot(page, 'refused');
    closed.stop();
  });

  talks('a daemon that wants tokens asks for one', async () => {
    const strict = await startDaemon(CONFIG.replace('allow_anonymous_connect_without_token = true', ''));
    const page = await newPage();
    await open(page, strict);
    assert.deepEqual(await page.$eval('#token', (input) => [input.required, input.closest('details').open]), [true, true]);
    strict.stop();
  });

  it('a page without its client says how to build it in', async () => {
    const page = await newPage();
    await page.setRequestInterception(true);
    page.on('request', (request) => {
      if (request.url().endsWith('/centrifuge.js')) request.respond({ status: 404 });
      else request.continue();
    });
    await open(page);
    assert.deepEqual(await page.$eval('#no-client', (notice) => [notice.hidden, notice.textContent.includes('tools/setup-chat')]), [false, true]);
    assert.equal(await page.$eval('#join-button', (button) => button.disabled), true);
    await shot(page, 'no-client');
  });

  talks('it looks well: light, dark, and on a phone', async () => {
    const channel = 'chat:lobby';
    const pages = {
      light: await newPage({}),
      dark: await newPage({ scheme: 'dark' }),
      phone: await newPage({ width: 390, height: 780, isPhone: true }),
    };
    await open(pages.light);
    await shot(pages.light, 'join-light');
    await open(pages.phone);
    await shot(pages.phone, 'join-phone');
    const names = { light: 'Ada', dark: 'Grace', phone: 'Barbara' };
    for (const [look, page] of Object.entries(pages)) await join(page, { name: names[look], channel });
    const lines = [
      ['light', 'Good morning! Who is on call today?'],
      ['dark', 'Me. 100,001 connections and counting, the fans do not even spin up.'],
      ['dark', 'And yes, I counted them twice.'],
      ['phone', 'On the train, in and out of tunnels. Nothing lost so far.'],
      ['light', 'That is what recovery is for.'],
    ];
    for (const [look, text] of lines) {
      await say(pages[look], text);
      for (const page of Object.values(pages)) await hears(page, text);
    }
    await api(daemon, 'publish', { channel, data: { deploy: 'finished', version: '0.3.0' } });
    for (const [look, page] of Object.entries(pages)) {
      await eventually('the JSON comes', async () => (await texts(page, '.bubble.json')).length === 1);
      await shot(page, look);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(overflow <= 0, `${look}: ${overflow} pixels stand out`);
      const unnamed = await page.$$eval('input, select, button', (all) => all.filter((one) => !one.labels?.length && !one.textContent.trim()).map((one) => one.id));
      assert.deepEqual(unnamed, [], 'everything that can be used has a name');
    }
    await pages.phone.click('#side summary');
    await shot(pages.phone, 'phone-people');
  });
});
