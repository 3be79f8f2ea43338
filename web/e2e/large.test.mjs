/** Ten thousand devices: all are reachable, and the page holds only those that are in sight. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertQuiet, NOT_SIGNED_IN, openPage, signIn, startBrowser } from './support/browser.mjs';
import { ADMIN_KEY, World } from './support/processes.mjs';

const DEVICES = 10_000;

/** Elements of a page that draws what is in sight; each device would add a dozen. */
const ELEMENTS_MAX = 6_000;

describe(`${DEVICES} devices`, () => {
  let world, browser, page;

  before(async () => {
    [world, browser] = await Promise.all([World.start({ lights: 0, gateways: 1 }), startBrowser()]);
    const lines = ['name,lorawan_dev_eui,codec'];
    for (let number = 1; number <= DEVICES; number += 1) {
      const devEui = (0x70b3d57ed1000000n + BigInt(number)).toString(16);
      lines.push(`Desk ${String(number).padStart(5, '0')},${devEui},kuando_busylight`);
    }
    const { counts } = await world.api('POST', '/tenants/default/import', `${lines.join('\n')}\n`);
    assert.equal(counts?.created ?? DEVICES, DEVICES);
    page = await openPage(browser, world, { expected: [NOT_SIGNED_IN] });
    await signIn(page, ADMIN_KEY, '/devices');
    await allListed(page);
  });
  after(() => Promise.all([world?.stop(), browser?.close()]));

  for (const view of ['grid', 'table']) {
    test(`the ${view} scrolls to the last one and stays small`, async (t) => {
      await page.goto(view === 'grid' ? '/devices' : '/devices?view=table');
      await allListed(page);
      await page.getByRole('gridcell').filter({ hasText: 'Desk 00001' }).waitFor();
      const frames = await scrolled(page);
      frames.sort((a, b) => a - b);
      const at = (share) => frames[Math.min(frames.length - 1, Math.floor(frames.length * share))].toFixed(1);
      t.diagnostic(`${frames.length} frames while scrolling: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, longest ${at(1)} ms`);
      await page.getByRole('gridcell').filter({ hasText: 'Desk 10000' }).waitFor();
      const elements = await page.evaluate(() => document.querySelectorAll('*').length);
      t.diagnostic(`${elements} elements`);
      assert.ok(elements < ELEMENTS_MAX, `${elements} elements`);
    });
  }

  test('one of them is found by its name', async () => {
    await page.goto('/devices');
    await allListed(page);
    await page.getByRole('searchbox', { name: 'Find lights' }).fill('Desk 07777');
    await page.getByRole('gridcell').filter({ hasText: 'Desk 07777' }).waitFor();
    assert.equal(await page.getByRole('gridcell').count(), 1);
    assertQuiet(page);
  });
});

/** Waits until the page has loaded all of them. */
function allListed(page) {
  return page.getByRole('status').filter({ hasText: /^10[,.\u202f\u00a0’ ]?000$/ }).first().waitFor();
}

/** Scrolls to the end by a third of the window each frame at first, then by leaps; gives how long each frame took, ms. */
function scrolled(page) {
  return page.evaluate(async () => {
    const cell = document.querySelector('[role=gridcell]');
    let scroller = cell.parentElement;
    const scrolls = (it) => it.scrollHeight > it.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(it).overflowY);
    while (scroller !== document.documentElement && !scrolls(scroller)) scroller = scroller.parentElement;
    const frame = () => new Promise((resume) => requestAnimationFrame(resume));
    const took = [];
    let last = await frame();
    for (let number = 0; number < 120; number += 1) {
      scroller.scrollBy(0, innerHeight / 3);
      const now = await frame();
      took.push(now - last);
      last = now;
    }
    for (let share = 1; share <= 20; share += 1) {
      scroller.scrollTo(0, (scroller.scrollHeight * share) / 20);
      const now = await frame();
      took.push(now - last);
      last = now;
    }
    // Rows that are measured only when they are drawn may move the end.
    for (let before = -1; before !== scroller.scrollHeight; await frame()) {
      before = scroller.scrollHeight;
      scroller.scrollTo(0, before);
    }
    return took;
  });
}
