/** A page stays open all day; the service does not always. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { live, NOT_SIGNED_IN, openPage, signIn, startBrowser } from './support/browser.mjs';
import { ADMIN_KEY, World } from './support/processes.mjs';

/** What the browser itself logs of a service that is gone. */
const GONE = /net::ERR_|status of 50[23]/;

describe('a service that is killed and started again', () => {
  let world, browser;

  before(async () => {
    [world, browser] = await Promise.all([World.start({ lights: 2, gateways: 1 }), startBrowser()]);
  });
  after(() => Promise.all([world?.stop(), browser?.close()]));

  test('the page says that it is not live, comes back by itself, and has missed nothing', async () => {
    const page = await openPage(browser, world, { expected: [NOT_SIGNED_IN, GONE] });
    await signIn(page, ADMIN_KEY, '/devices');
    await page.getByRole('gridcell').filter({ hasText: 'Desk 01' }).waitFor();
    await page.evaluate(() => (window.sameDocument = true));

    await world.killService();
    await page.getByText('Not live', { exact: true }).filter({ visible: true }).first().waitFor();
    // So that the page is not back before something has happened that it can learn only by loading anew.
    await page.context().setOffline(true);
    await world.startService();
    const { devices } = await world.api('GET', '/tenants/default/devices?name=Desk%2001');
    await world.api('PATCH', `/tenants/default/devices/${devices[0].id}`, { name: 'Reception' });
    await page.context().setOffline(false);
    await live(page);
    await page.getByRole('gridcell').filter({ hasText: 'Reception' }).waitFor();
    assert.equal(await page.evaluate(() => window.sameDocument), true, 'nobody had to load the page again');

    // And live it is again: what happens now arrives as an event.
    await world.api('POST', `/downlink/${devices[0].lorawan_dev_eui}?wait=60`, { color: '#0000ff' });
    await page.getByRole('gridcell').filter({ hasText: 'Reception' }).getByText('blue').first().waitFor();
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });
});
