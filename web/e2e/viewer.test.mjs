/** What somebody who may only look is offered: nothing that they may not do. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertQuiet, NOT_SIGNED_IN, openPage, PATHS, settled, signIn, startBrowser } from './support/browser.mjs';
import { World } from './support/processes.mjs';

/** Names of buttons that change something. */
const CHANGES =
  /^(send|import|register|create|add|delete|remove|save|cancel it|pause|resume|retry|claim|dismiss|adopt|resolve|initiali[sz]e|sync|set |revoke|edit|re-sync|check now|new )/i;

describe('a viewer', () => {
  let world, browser;

  before(async () => {
    [world, browser] = await Promise.all([World.start({ lights: 2, gateways: 1 }), startBrowser()]);
  });
  after(() => Promise.all([world?.stop(), browser?.close()]));

  test('sees every page and is offered nothing that changes anything', async () => {
    const page = await openPage(browser, world, { expected: [NOT_SIGNED_IN] });
    await signIn(page, await world.key('viewer', 'default'));
    const { devices } = await world.api('GET', '/tenants/default/devices');
    const { gateways } = await world.api('GET', '/gateways');
    const paths = [...PATHS, `/devices/${devices[0].id}`, `/gateways/${gateways[0].gateway_id}`];
    for (const path of paths) {
      await page.goto(path);
      await settled(page);
      const names = await page.getByRole('button').filter({ visible: true }).allInnerTexts();
      const offered = names.map((name) => name.trim()).filter((name) => CHANGES.test(name));
      assert.deepEqual(offered, [], path);
      assert.equal(await page.getByRole('form', { name: 'Send a colour' }).count(), 0, path);
    }
    assertQuiet(page);
    await page.context().close();
  });
});
