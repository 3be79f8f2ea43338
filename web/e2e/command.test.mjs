/** A colour on its way to a light, and to many. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertQuiet, NOT_SIGNED_IN, openPage, signIn, startBrowser } from './support/browser.mjs';
import { ADMIN_KEY, World } from './support/processes.mjs';

describe('sending colours', () => {
  let world, browser;

  before(async () => {
    [world, browser] = await Promise.all([World.start({ lights: 6 }), startBrowser()]);
  });
  after(() => Promise.all([world?.stop(), browser?.close()]));

  test('a colour that is sent is seen on its way until the light proves it', async () => {
    const page = await openPage(browser, world, { expected: [NOT_SIGNED_IN] });
    await signIn(page, ADMIN_KEY, '/devices');
    const tile = page.getByRole('gridcell').filter({ hasText: 'Desk 02' });
    await tile.click();
    await page.getByRole('radio', { name: 'green' }).check({ force: true });
    await page.getByRole('button', { name: /^Send green to Desk 02/ }).click();
    const story = page.getByRole('region', { name: 'The command’s story' });
    await story.getByText('Desk 02').first().waitFor();
    await story.getByText('Verified', { exact: true }).first().waitFor();
    await tile.getByText('green').first().waitFor();

    const { devices } = await world.api('GET', '/tenants/default/devices?name=Desk%2002');
    const light = await (await fetch(`${world.control}/lights/${devices[0].lorawan_dev_eui}`)).json();
    assert.match(JSON.stringify(light), /"green":\s*255/, 'the simulated light itself shows it');
    assertQuiet(page);
    await page.context().close();
  });

  test('many lights get one colour: what it costs is said before, and how far it is after', async () => {
    const page = await openPage(browser, world, { expected: [NOT_SIGNED_IN] });
    await signIn(page, ADMIN_KEY, '/devices');
    await page.getByRole('gridcell').nth(5).waitFor();
    await page.getByRole('button', { name: 'Select all' }).click();
    const form = page.getByRole('form', { name: 'Send a colour' });
    await form.getByRole('status').filter({ hasText: /airtime/i }).waitFor();
    assert.equal((await world.api('GET', '/tenants/default/jobs')).jobs.length, 0, 'asking what it costs sends nothing');

    await page.getByRole('radio', { name: 'blue' }).check({ force: true });
    await page.getByRole('button', { name: /^Send blue to 6 lights/ }).click();
    const progress = page.getByRole('progressbar').filter({ visible: true }).first();
    await progress.waitFor();
    await page.getByText(/6 of 6|6 verified/).filter({ visible: true }).first().waitFor();
    const { jobs } = await world.api('GET', '/tenants/default/jobs');
    assert.equal(jobs.length, 1);

    await page.goto(`/jobs/${jobs[0].id}`);
    await page.getByRole('heading', { level: 1 }).waitFor();
    await page.getByText('Desk 06').filter({ visible: true }).first().waitFor();
    assertQuiet(page);
    await page.context().close();
  });
});
