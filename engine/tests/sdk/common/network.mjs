// Network: a TCP proxy between an SDK and the daemon, which a test can break.
//
// `cut` ends all connections and lets no new one through; `freeze` keeps them, and loses nothing, but passes nothing on;
// `mend` undoes both. `moveTo` leads new connections to another server, as a load balancer does.

import net from 'node:net';
import { after } from 'node:test';

const open = [];
after(() => open.forEach((network) => network.close()));

export class Network {
  #server;
  #far;
  #pairs = new Set();
  // What the SDK's side has received.
  receivedBytes = 0;
  #isCut = false;
  #isFrozen = false;

  // A network to the server at this address.
  static async open(url = process.env.SDK_URL) {
    const network = new Network();
    network.#far = new URL(url);
    network.#server = net.createServer((near) => {
      const { hostname, port } = network.#far;
      network.#join(near, net.connect(Number(port), hostname));
    });
    await new Promise((resolve) => network.#server.listen(0, '127.0.0.1', resolve));
    open.push(network);
    return network;
  }

  get url() {
    const url = new URL(this.#far);
    url.port = this.#server.address().port;
    return url.href;
  }

  cut() {
    this.#isCut = true;
    for (const [near, far] of this.#pairs) this.#part(near, far);
  }

  freeze() {
    this.#isFrozen = true;
    for (const pair of this.#pairs) pair.forEach((socket) => socket.pause());
  }

  mend() {
    this.#isCut = false;
    this.#isFrozen = false;
    for (const pair of this.#pairs) pair.forEach((socket) => socket.resume());
  }

  moveTo(url) {
    this.#far = new URL(url);
  }

  close() {
    this.cut();
    this.#server.close();
  }

  #join(near, far) {
    if (this.#isCut) {
      this.#part(near, far);
      return;
    }
    const pair = [near, far];
    this.#pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on('data', (bytes) => {
        if (from === far) this.receivedBytes += bytes.length;
        to.write(bytes);
      });
      from.on('error', () => {});
      from.on('close', () => {
        this.#pairs.delete(pair);
        to.destroy();
      });
      if (this.#isFrozen) from.pause();
    }
  }

  #part(near, far) {
    near.on('error', () => {}).destroy();
    far.on('error', () => {}).destroy();
  }
}
