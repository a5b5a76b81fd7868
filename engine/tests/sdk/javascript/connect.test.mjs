// Who may connect, for how long, and what an SDK does about its end.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  channelIn, connected, entries, eventually, formats, newClient, nowSeconds, sideBySide, signed, sleep, subscribed, token,
} from './harness.mjs';
import { Network } from './network.mjs';

for (const format of formats) {
  describe(format.name, sideBySide, () => {
    it('a client without a token is anonymous', async () => {
      const client = await connected(format);
      const room = await subscribed(format, client, channelIn('chat'));
      const { clients } = await room.presence();
      const [{ client: id }] = entries(client, 'connected');
      assert.deepEqual(Object.keys(clients), [id]);
      assert.equal(clients[id].user ?? '', '');
    });

    it('a token says who the client is and what others see of it', async () => {
      const own = token('gen', { user: '42', info: '{"name":"Ada"}' });
      const client = await connected(format, { token: own });
      const room = await subscribed(format, client, channelIn('chat'));
      const [info] = Object.values((await room.presence()).clients);
      assert.equal(info.user, '42');
      assert.deepEqual(format.read(info.connInfo), { name: 'Ada' });
    });

    for (const [what, forged] of [
      ['that is no token', 'no-token'],
      ['signed with another secret', signed({ sub: '42' }, { secret: 'another' })],
      ['that nobody signed', signed({ sub: '42' }, { algorithm: 'none' })],
    ]) {
      it(`a token ${what} is refused for good`, async () => {
        const client = newClient(format, { token: forged });
        client.connect();
        await eventually('the client is told', () => client.state === 'disconnected');
        assert.equal(entries(client, 'disconnected')[0].code, 3500);
        await sleep(300);
        assert.equal(entries(client, 'connecting').length, 1, 'it tried again');
      });
    }

    it('an expired token is replaced by a new one', async () => {
      const expired = signed({ sub: '42', exp: nowSeconds() - 60 });
      let asked = 0;
      const getToken = async () => {
        asked += 1;
        return token('gen', { user: '42' });
      };
      const client = await connected(format, { token: expired, getToken });
      assert.equal(client.state, 'connected');
      assert.equal(asked, 1);
    });

    it('a token that runs out is refreshed without a break', async () => {
      let asked = 0;
      const getToken = async () => {
        asked += 1;
        return signed({ sub: '42', exp: nowSeconds() + 3 });
      };
      const client = await connected(format, { getToken });
      await eventually('the token was refreshed twice', () => asked >= 3);
      assert.equal(entries(client, 'connected').length, 1);
      assert.deepEqual(entries(client, 'error'), []);
    });

    it('a client that does not refresh is told to come back with a new token', async () => {
      const tokens = [signed({ sub: '42', exp: nowSeconds() + 3 })];
      const client = newClient(format, {
        // The first token is refreshed too late, as by an application that hangs.
        getToken: async () => tokens.pop() ?? sleep(8_000).then(() => signed({ sub: '42' })),
      });
      client.connect();
      await eventually('it is told that it has expired', () => entries(client, 'connecting').length === 2);
      assert.equal(entries(client, 'connecting')[1].code, 3005);
      await eventually('it is back', () => entries(client, 'connected').length === 2);
    });

    it('a refresh with the token of somebody else ends the connection for good', async () => {
      const users = ['somebody-else', '42'];
      const client = await connected(format, { getToken: async () => signed({ sub: users.pop(), exp: nowSeconds() + 3 }) });
      await eventually('it is told', () => client.state === 'disconnected');
      assert.equal(entries(client, 'disconnected')[0].code, 3500);
    });

    it('pings keep a connection that has nothing to say', async () => {
      const client = await connected(format, { maxServerPingDelay: 5_000 });
      await sleep(9_000);
      assert.equal(client.state, 'connected');
      assert.equal(entries(client, 'connecting').length, 1);
    });

    it('a connection that has gone silent is given up by both, and what it missed comes with the next', async () => {
      const network = await Network.open();
      const channel = channelIn('brief');
      const client = await connected(format, { maxServerPingDelay: 1_000 }, network.url);
      const room = await subscribed(format, client, channel);
      const other = await connected(format);
      network.freeze();
      await eventually('the client gives up', () => entries(client, 'connecting').length === 2);
      assert.equal(entries(client, 'connecting')[1].code, 2, 'no ping');
      await other.publish(channel, format.write('missed'));
      network.mend();
      await eventually('the publication arrives', () => room.publications.length === 1);
      assert.equal(room.publications[0].value, 'missed');
    });

    it('a remote procedure call has nobody to go to', async () => {
      const client = await connected(format);
      await assert.rejects(client.rpc('method', format.write({})), (error) => error.code === 108);
      assert.equal(client.state, 'connected');
    });

    it('what is only sent has nobody to go to, and no reply that could say so', async () => {
      const client = await connected(format);
      await client.send(format.write({ hello: 'nobody' }));
      await eventually('it is sent away', () => client.state === 'disconnected');
      assert.equal(entries(client, 'disconnected')[0].code, 3508);
    });

    it('a channel without anybody has zero clients and users', async () => {
      const client = await connected(format);
      const { numClients, numUsers } = await client.presenceStats(channelIn('chat'));
      assert.deepEqual([numClients, numUsers], [0, 0]);
    });
  });
}
