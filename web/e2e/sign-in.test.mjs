/** Who gets in, for how long, and out again. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertQuiet, live, NOT_SIGNED_IN, openPage, signIn, startBrowser } from './support/browser.mjs';
import { ADMIN_KEY, World } from './support/processes.mjs';

describe('signing in and out', () => {
  let world, browser;

  before(async () => {
    [world, browser] = await Promise.all([World.start({ lights: 1, gateways: 1 }), startBrowser()]);
  });
  after(() => Promise.all([world?.stop(), browser?.close()]));

  test('a key that is none is refused in words, and the right one opens the page', async () => {
    const page = await openPage(browser, world, { expected: [NOT_SIGNED_IN] });
    await page.goto('/gateways');
    const key = page.getByLabel('API key');
    await key.fill('guessed');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').getByText('does not know this key').waitFor();
    await key.fill(ADMIN_KEY);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await live(page);
    assert.equal(new URL(page.url()).pathname, '/gateways', 'one lands where one wanted to go');

    const cookies = await page.context().cookies();
    assert.equal(cookies.length, 1);
    assert.equal(cookies[0].httpOnly, true);
    assert.equal(cookies[0].sameSite, 'Strict');
    assert.equal(await page.evaluate(() => document.cookie), '', 'no script can read it');

    await page.reload();
    await live(page);
    assertQuiet(page);
    await page.context().close();
  });

  test('signing out in one tab signs the other one out', async () => {
    const page = await openPage(browser, world, { expected: [NOT_SIGNED_IN, /status of 401/] });
    await signIn(page);
    const other = await page.context().newPage();
    await other.goto('/');
    await live(other);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('API key').waitFor();
    await other.getByLabel('API key').waitFor();
    const answer = await page.request.get('/api/v1/session');
    assert.equal(answer.status(), 401);
    assertQuiet(page);
    await page.context().close();
  });

  test('a session that somebody ended elsewhere is over', async () => {
    const page = await openPage(browser, world, { expected: [NOT_SIGNED_IN, /status of 401/] });
    await signIn(page);
    const { sessions } = await world.api('GET', '/sessions');
    await Promise.all(sessions.map(({ id }) => world.api('DELETE', `/sessions/${id}`)));
    await page.getByLabel('API key').waitFor();
    await page.context().close();
  });
});
