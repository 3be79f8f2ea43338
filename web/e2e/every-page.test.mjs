/** Every page, empty and full, in light and dark, wide and on a phone: no errors, nothing that only some can use. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertQuiet, live, NOT_SIGNED_IN, openPage, overflow, PATHS, settled, signIn, startBrowser, violations } from './support/browser.mjs';
import { ADMIN_KEY, World } from './support/processes.mjs';
import { until } from './support/until.mjs';

const PHONE = { width: 390, height: 844 };
const SCREENS = [
  { theme: 'light', viewport: { width: 1280, height: 880 } },
  { theme: 'dark', viewport: { width: 1280, height: 880 } },
  { theme: 'light', viewport: PHONE },
  { theme: 'dark', viewport: PHONE },
];

for (const lights of [4, 0]) {
  describe(lights === 0 ? 'pages with nothing on them' : 'pages', () => {
    let world, browser;
    let paths = PATHS;

    before(async () => {
      [world, browser] = await Promise.all([World.start({ lights, gateways: 2 }), startBrowser()]);
      if (lights > 0) paths = [...PATHS, ...(await happened(world))];
    });
    after(() => Promise.all([world?.stop(), browser?.close()]));

    for (const { theme, viewport } of SCREENS) {
      test(`${theme}, ${viewport.width} pixels wide`, async (t) => {
        const page = await openPage(browser, world, { theme, viewport, expected: [NOT_SIGNED_IN] });
        await page.goto('/');
        await page.getByLabel('API key').waitFor();
        const wrong = [];
        const look = async (path) => {
          for (const violation of await violations(page)) wrong.push(`${path} ${violation}`);
          const wider = await overflow(page);
          if (wider) wrong.push(`${path} is wider than its window by ${wider}`);
        };
        await look('sign-in');
        await signIn(page, ADMIN_KEY);
        for (const path of paths) {
          await page.goto(path);
          await live(page);
          await settled(page);
          await look(path);
        }
        for (const it of wrong) t.diagnostic(it);
        assert.deepEqual(wrong, []);
        assertQuiet(page);
        await page.context().close();
      });
    }
  });
}

/** Gives a world a past: commands, a job, keys, a gateway that is off. The paths of what then has one. */
async function happened(world) {
  const { devices } = await world.api('GET', '/tenants/default/devices');
  const [first, second] = devices;
  await world.api('POST', `/downlink/${first.lorawan_dev_eui}?wait=60`, { color: '#ff0000' });
  await world.api('POST', `/downlink/${second.lorawan_dev_eui}?wait=60`, { color: '#00ff00', on_time: 5, off_time: 5 });
  const job = await world.api('POST', '/tenants/default/jobs', {
    kind: 'color',
    name: 'all blue',
    color: '#0000ff',
    devices: devices.map(({ lorawan_dev_eui }) => lorawan_dev_eui),
  });
  await until('the job is over', async () => (await world.api('GET', `/tenants/default/jobs/${job.id}`)).finished_at);
  await world.key('operator', 'default');
  const { gateways } = await world.api('GET', '/gateways');
  return [`/devices/${first.id}`, `/gateways/${gateways[0].gateway_id}`, `/jobs/${job.id}`];
}
