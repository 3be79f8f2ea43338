/** Many pages of one browser: what one does the others show, and none keeps another from working. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertQuiet, live, NOT_SIGNED_IN, openPage, signIn, startBrowser, violations } from './support/browser.mjs';
import { ADMIN_KEY, World } from './support/processes.mjs';
import { PATIENCE_MS, until } from './support/until.mjs';

/** More than the six connections that a browser opens to a host. */
const TABS = 8;

/** A device that was deleted while it was looked up: the browser itself logs that. */
const GONE = /status of 404 .*\/devices\//;

describe('several tabs', () => {
  let world, browser;

  before(async () => {
    [world, browser] = await Promise.all([World.start({ lights: 2, gateways: 1 }), startBrowser()]);
  });
  after(() => Promise.all([world?.stop(), browser?.close()]));

  test('eight are opened one after the other, and each is live when it is looked at', async () => {
    const first = await openPage(browser, world, { expected: [NOT_SIGNED_IN] });
    await signIn(first, ADMIN_KEY, '/devices');
    const tabs = [first];
    while (tabs.length < TABS) {
      await show(tabs.at(-1), false);
      const tab = await first.context().newPage();
      tab.setDefaultTimeout(PATIENCE_MS);
      tab.setDefaultNavigationTimeout(PATIENCE_MS);
      await tab.goto('/devices');
      await live(tab);
      tabs.push(tab);
    }
    const { devices } = await world.api('GET', '/tenants/default/devices');
    for (const [number, tab] of [...tabs.entries()].reverse()) {
      // What happened while it was hidden, and what happens now.
      const { id } = devices[number % 2];
      await world.api('PATCH', `/tenants/default/devices/${id}`, { name: `Seen in tab ${number}` });
      for (const other of tabs) if (other !== tab) await show(other, false);
      await show(tab, true);
      await tab.getByRole('gridcell').filter({ hasText: `Seen in tab ${number}` }).waitFor();
      await live(tab);
      await tab.goto('/audit');
      await tab.getByText(`Seen in tab ${number}`).first().waitFor();
    }
    assertQuiet(first);
    await first.context().close();
  });

  test('how closely lights stand is remembered, and their colours have names all the same', async () => {
    const page = await openPage(browser, world, { expected: [NOT_SIGNED_IN] });
    await signIn(page, ADMIN_KEY, '/devices');
    const { devices } = await world.api('GET', '/tenants/default/devices');
    await world.api('POST', `/downlink/${devices[0].lorawan_dev_eui}?wait=60`, { color: '#0000ff', on_time: 5, off_time: 5 });
    const light = page.getByRole('gridcell').filter({ hasText: devices[0].name });
    await light.getByText('blue').first().waitFor();
    const { height } = await light.boundingBox();
    await page.getByRole('button', { name: 'Compact' }).click();
    await light.getByText('blue, blinks').waitFor();
    assert.ok((await light.boundingBox()).height < height * 0.6);
    assert.deepEqual(await violations(page), []);
    await page.reload();
    await page.getByRole('button', { name: 'Compact', pressed: true }).waitFor();
    await page.getByRole('button', { name: 'As a table' }).click();
    await light.getByText('blue').first().waitFor();
    assert.deepEqual(await violations(page), []);
    assertQuiet(page);
    await page.context().close();
  });

  test('a device that somebody registers, renames and deletes is followed', async () => {
    const page = await openPage(browser, world, { expected: [NOT_SIGNED_IN, GONE] });
    await signIn(page, ADMIN_KEY, '/devices');
    const path = '/tenants/default/devices';
    const wish = { name: 'By another', lorawan_dev_eui: '70b3d57ed2000099', codec: 'kuando_busylight' };
    const made = await world.api('POST', path, wish);
    const tile = (name) => page.getByRole('gridcell').filter({ hasText: name });
    await tile('By another').waitFor();
    await world.api('PATCH', `${path}/${made.id}`, { name: 'Renamed' });
    await tile('Renamed').waitFor();
    assert.equal(await tile('By another').count(), 0);
    await world.api('PATCH', `${path}/${made.id}`, { lorawan_dev_eui: '70b3d57ed2000098' });
    await tile('70b3d57ed2000098').waitFor();
    assert.equal(await tile('70b3d57ed2000099').count(), 0);

    const own = await page.context().newPage();
    own.setDefaultTimeout(PATIENCE_MS);
    await own.goto(`/devices/${made.id}`);
    await own.getByRole('heading', { level: 1, name: 'Renamed' }).waitFor();
    await live(own);
    await world.api('PATCH', `${path}/${made.id}`, { name: 'Renamed again' });
    await own.getByRole('heading', { level: 1, name: 'Renamed again' }).waitFor();
    await world.api('DELETE', `${path}/${made.id}`);
    await own.getByText('It was deleted').waitFor();
    await until('it is off the list', async () => (await tile('Renamed').count()) === 0);

    const csv = ['name,lorawan_dev_eui', ...Array.from({ length: 40 }, (_, at) => `Imported ${at},70b3d57ed30000${10 + at}`)];
    await world.api('POST', '/tenants/default/import', csv.join('\n'));
    await page.getByLabel('Find lights').fill('Imported 39');
    await tile('Imported 39').waitFor();
    assertQuiet(page);
    await page.context().close();
  });
});

/** Hides a tab or shows it. A headless browser shows all of them, so the page is told what it would be told. */
function show(page, isShown) {
  return page.evaluate((isShown) => {
    Object.defineProperty(document, 'hidden', { configurable: true, value: !isShown });
    document.dispatchEvent(new Event('visibilitychange'));
  }, isShown);
}
