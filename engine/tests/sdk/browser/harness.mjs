// Harness: what every test in a browser needs.
//
// In:  the daemon's binary, from the environment (engine/tests/sdk sets it).
// Out: daemons of one's own, pages, and waiting for what must come to pass.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import puppeteer from 'puppeteer-core';
import { findBrowser } from './find.mjs';

const BINARY = required('SDK_HOLDFAST');
const PATIENCE_MS = 60_000;
const folder = mkdtempSync(join(tmpdir(), 'holdfast-browser-'));

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run these tests with cargo test --test sdk`);
  return value;
}

export const config = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');

const daemons = [];
after(() => {
  daemons.forEach((daemon) => daemon.kill());
  // One that does not stop would keep this process waiting without a word.
  setTimeout(() => {
    console.error('a daemon did not stop');
    process.exitCode = 1;
    daemons.forEach((daemon) => daemon.kill('SIGKILL'));
  }, 15_000).unref();
});

// A daemon on free ports: where clients connect, and where its page and its API are.
export async function startDaemon(text) {
  const path = join(folder, `${daemons.length}.toml`);
  writeFileSync(path, text);
  const flags = ['serve', '--config', path, '--listen', '127.0.0.1:0', '--control', '127.0.0.1:0', '--shards', '2'];
  const daemon = spawn(BINARY, flags, { stdio: ['ignore', 'pipe', 'pipe'] });
  daemons.push(daemon);
  let said = '';
  let ready;
  daemon.stderr.on('data', (bytes) => { said += bytes; });
  daemon.stdout.on('data', (bytes) => { ready ??= /^ready listen=(\S+) control=(\S+)/m.exec(bytes); });
  await eventually('the daemon is ready', () => {
    assert.equal(daemon.exitCode, null, said);
    return ready;
  });
  return { listen: ready[1], control: ready[2], stop: () => daemon.kill() };
}

// Calls the server API; answers with the result.
export async function api({ control }, method, params) {
  const headers = { 'Content-Type': 'application/json', 'X-API-Key': 'for-tests-only' };
  const answer = await fetch(`http://${control}/api/${method}`, { method: 'POST', headers, body: JSON.stringify(params) });
  const { result, error } = await answer.json();
  assert.equal(error, undefined, `${method}: ${JSON.stringify(error)}`);
  return result;
}

let launched;

// The browser: one for all tests of a file.
export function browser() {
  launched ??= puppeteer.launch({
    executablePath: findBrowser(),
    headless: true,
    // Root may not use the sandbox, and the pages are ours. Shared memory is small in containers.
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--lang=en-US'],
  });
  return launched;
}

after(async () => {
  if (launched) await (await launched).close();
});

// A page with storage of its own, as another person's browser; `page.faults` is what its console complained of, and
// `page.hosts` to whom it spoke.
export async function newPage({ scheme = 'light', width = 1100, height = 720, isPhone = false } = {}) {
  const context = await (await browser()).createBrowserContext();
  const page = await context.newPage();
  await page.setViewport({ width, height, deviceScaleFactor: isPhone ? 2 : 1, isMobile: isPhone, hasTouch: isPhone });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  page.setDefaultTimeout(PATIENCE_MS);
  page.faults = [];
  page.hosts = new Set();
  page.on('console', (message) => {
    if (message.type() === 'error') page.faults.push(message.text());
  });
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('request', (request) => page.hosts.add(new URL(request.url()).host));
  return page;
}

// Waits until `isSo`; fails with `what` where it does not come to pass.
export async function eventually(what, isSo) {
  for (const began = Date.now(); ; await sleep(20)) {
    const is = await isSo();
    if (is) return is;
    assert.ok(Date.now() - began < PATIENCE_MS, `this never came to pass: ${what}`);
  }
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
