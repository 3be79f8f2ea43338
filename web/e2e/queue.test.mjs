/** A queue in ChirpStack that does not move: who may flush it, and that it is asked twice. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertQuiet, NOT_SIGNED_IN, openPage, signIn, startBrowser, violations } from './support/browser.mjs';
import { World } from './support/processes.mjs';

describe('a queue that does not move', () => {
  let world, browser, device;

  before(async () => {
    [world, browser] = await Promise.all([World.start({ lights: 1, gateways: 1 }), startBrowser()]);
    ({ devices: [device] } = await world.api('GET', '/tenants/default/devices'));
  });
  after(() => Promise.all([world?.stop(), browser?.close()]));

  /** The Drift page, with a finding that the service makes only after ten minutes without a gateway. */
  async function stuck(key) {
    const page = await openPage(browser, world, { expected: [NOT_SIGNED_IN] });
    const at = new Date().toISOString();
    const finding = { device_id: device.id, dev_eui: device.lorawan_dev_eui, since: at, looked_at: at };
    const findings = [{ ...finding, first_queue_id: 'x', items: 3, foreign_items: 2, is_pending: false }];
    await page.route('**/queue-findings', (route) => route.fulfill({ json: { findings } }));
    await signIn(page, key, '/drift');
    await page.getByRole('cell', { name: device.name }).waitFor();
    return page;
  }

  test('an operator flushes it after a second look, and the audit log has it', async () => {
    const page = await stuck(await world.key('operator', 'default'));
    await page.getByRole('button', { name: 'Flush…' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByText('of which 2 from another application').waitFor();
    assert.deepEqual(await violations(page), []);
    await dialog.getByRole('button', { name: 'Leave it' }).click();
    const log = () => world.api('GET', '/tenants/default/audit?action=device.flush_queue');
    assert.equal((await log()).entries.length, 0);
    await page.getByRole('button', { name: 'Flush…' }).click();
    await dialog.getByRole('button', { name: 'Flush the queue' }).click();
    await page.getByText(`The queue of ${device.name} is empty`).waitFor();
    const { entries } = await log();
    assert.deepEqual([entries.length, entries[0].object_id], [1, device.id]);
    assertQuiet(page);
    await page.context().close();
  });

  test('a viewer sees it and is not offered to', async () => {
    const page = await stuck(await world.key('viewer', 'default'));
    assert.equal(await page.getByRole('button', { name: 'Flush…' }).count(), 0);
    assertQuiet(page);
    await page.context().close();
  });
});
