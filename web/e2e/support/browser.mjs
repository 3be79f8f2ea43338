/** Debian's Chromium, driven by playwright-core; nothing is downloaded. */
import assert from 'node:assert/strict';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, extname, join, resolve } from 'node:path';
import { chromium } from 'playwright-core';
import { PATIENCE_MS, until } from './until.mjs';
import { ADMIN_KEY } from './processes.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Rules of WCAG 2.2 up to AA, and what axe calls best practice. */
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** Every page that needs no id, by its path. */
export const PATHS = ['/', '/devices', '/gateways', '/jobs', '/unclaimed', '/drift', '/audit', '/settings'];

/**
 * A directory with a page as `npm run build` makes it, to be tested in place of the binary's: a change of the page then
 * needs no new binary. It is served under the binary's own headers, its Content-Security-Policy among them.
 */
const PAGE = process.env.DOWNBEAT_PAGE && resolve(process.env.DOWNBEAT_PAGE);

const WIDE = { width: 1280, height: 880 };

/** Starts the browser; to be closed. */
export function startBrowser() {
  const arguments_ = ['--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update'];
  if (process.getuid?.() === 0) arguments_.push('--no-sandbox');
  return chromium.launch({ executablePath: executable(), args: arguments_ });
}

/**
 * A page of its own, not signed in, at the service's address.
 *
 * What it reports as an error is kept in `page.complaints`, but what a test says it expects: the browser itself logs
 * every answer of 400 and more, and every connection that breaks.
 */
export async function openPage(browser, world, { viewport = WIDE, theme = 'light', expected = [] } = {}) {
  const context = await browser.newContext({
    baseURL: world.address,
    viewport,
    colorScheme: theme,
    reducedMotion: 'reduce',
    acceptDownloads: true,
  });
  if (PAGE) await context.route((url) => !url.pathname.startsWith('/api/'), fulfil);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.setDefaultNavigationTimeout(PATIENCE_MS);
  page.complaints = [];
  const complain = (text) => {
    if (!expected.some((pattern) => pattern.test(text))) page.complaints.push(text);
  };
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complain(`${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => complain(String(error)));
  page.underWay = new Set();
  page.on('request', (request) => request.url().endsWith('/events') || page.underWay.add(request));
  for (const over of ['requestfinished', 'requestfailed']) page.on(over, (request) => page.underWay.delete(request));
  return page;
}

/** Answers with a file of `PAGE`; paths that name none are the page's own. */
async function fulfil(route) {
  const { pathname, origin } = new URL(route.request().url());
  const isFile = extname(pathname) !== '' && existsSync(join(PAGE, pathname));
  const { headers } = await fetch(origin, { method: 'HEAD' });
  const policy = headers.get('content-security-policy') ?? '';
  await route.fulfill({ path: join(PAGE, isFile ? pathname : 'index.html'), headers: { 'content-security-policy': policy } });
}

/** That the browser is asked who is signed in before anybody is, it logs. */
export const NOT_SIGNED_IN = /status of 401 .*\/api\/v1\/session\)/;

/** Signs in on the page's own form, and waits until the page is live. */
export async function signIn(page, key = ADMIN_KEY, path = '/') {
  await page.goto(path);
  await page.getByLabel('API key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await live(page);
}

/** Waits until the page says that it is live. */
export async function live(page) {
  await page.getByText('Live', { exact: true }).filter({ visible: true }).first().waitFor();
}

/** Waits until a page shows what it is about: its heading is there and every answer that it asked for is drawn. */
export async function settled(page) {
  await page.getByRole('heading', { level: 1 }).first().waitFor();
  await until(`${page.url()} has its answers`, async () => {
    // What one answer makes the page ask for is asked for within the next frames.
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    return page.underWay.size === 0;
  });
}

/** What axe finds wrong on the page as it is, in words. */
export async function violations(page) {
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(AXE);
  const found = await page.evaluate(async (rules) => {
    const { violations, passes } = await window.axe.run(document, { runOnly: { type: 'tag', values: rules } });
    if (passes.length < 10) throw new Error(`axe looked at next to nothing: ${passes.length} rules apply`);
    return violations.map(({ id, help, nodes }) => {
      const where = nodes.slice(0, 3).map((node) => `${node.target.join(' ')} ${node.any[0]?.message ?? ''}`);
      return `${id}: ${help} (${nodes.length}): ${where.join(' | ')}`;
    });
  }, RULES);
  return found;
}

/** How many pixels the page is wider than its window; what sticks out most is named. */
export function overflow(page) {
  return page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return null;
    const all = [...document.querySelectorAll('body *')];
    const widest = all.reduce((widest, it) =>
      it.getBoundingClientRect().right > widest.getBoundingClientRect().right ? it : widest,
    );
    return `${scrollWidth - clientWidth} px: ${widest.outerHTML.slice(0, 120)}`;
  });
}

/** Nothing was reported as an error so far. */
export function assertQuiet(page) {
  assert.deepEqual(page.complaints, []);
}

function executable() {
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
  const places = (process.env.PATH ?? '').split(delimiter);
  const candidates = process.env.CHROMIUM ? [process.env.CHROMIUM] : names.flatMap((name) => places.map((place) => join(place, name)));
  const found = candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error('a Chromium is needed (on Debian: apt-get install chromium), or its path in CHROMIUM');
  return found;
}
