/** A list of devices, some lines of which are wrong. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertQuiet, NOT_SIGNED_IN, openPage, signIn, startBrowser } from './support/browser.mjs';
import { ADMIN_KEY, World } from './support/processes.mjs';

const LIST = `name,lorawan_dev_eui,codec
Desk A,70b3d57ed0000001,kuando_busylight
Desk B,not-an-eui,kuando_busylight
Desk C,70b3d57ed0000003,no_such_codec
Desk D,70b3d57ed0000004,kuando_busylight
`;

describe('importing devices', () => {
  let world, browser;

  before(async () => {
    [world, browser] = await Promise.all([World.start({ lights: 0, gateways: 1 }), startBrowser()]);
  });
  after(() => Promise.all([world?.stop(), browser?.close()]));

  test('wrong lines are named before anything is made, and the right ones are imported', async () => {
    const page = await openPage(browser, world, { expected: [NOT_SIGNED_IN] });
    await signIn(page, ADMIN_KEY, '/devices');
    await page.getByRole('button', { name: /^Import/ }).first().click();
    const dialog = page.getByRole('dialog');
    await dialog.locator('input[type=file]').setInputFiles({ name: 'lights.csv', mimeType: 'text/csv', buffer: Buffer.from(LIST) });
    await dialog.getByText(/lorawan_dev_eui/).first().waitFor();
    await dialog.getByText(/codec/).first().waitFor();
    const listed = async () => (await world.api('GET', '/tenants/default/devices')).devices.map(({ name }) => name);
    assert.deepEqual(await listed(), [], 'looking makes nothing');

    await dialog.getByRole('button', { name: /^Import/ }).click();
    await page.getByRole('gridcell').filter({ hasText: 'Desk D' }).waitFor({ state: 'attached' });
    assert.deepEqual((await listed()).sort(), ['Desk A', 'Desk D']);
    assertQuiet(page);
    await page.context().close();
  });
});
