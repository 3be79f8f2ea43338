#!/usr/bin/env node
/**
 * How long it takes from a webhook to its pixels on the screen, while a fleet is busy. To be run by hand:
 *
 *   npm --prefix web/e2e ci && cargo build --release
 *   DOWNBEAT=target/release/downbeat node web/e2e/measure-live.mjs [--lights 300] [--commands 50] [--seconds 60]
 *
 * A simulated fleet is sent commands at an even rate and answers as it does. Beside it, lights of which nobody else
 * speaks report a new colour now and then: from the moment at which such a report is handed to the service until the
 * frame in which the page shows it is done, that is the figure. Both ends run on this machine, by one clock.
 */
import { parseArgs } from 'node:util';
import { openPage, signIn, startBrowser } from './support/browser.mjs';
import { ADMIN_KEY, World } from './support/processes.mjs';

const { values } = parseArgs({
  options: {
    lights: { type: 'string', default: '300' },
    commands: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '60' },
    path: { type: 'string', default: '/devices' },
  },
});
const [LIGHTS, COMMANDS_PER_S, SECONDS] = [values.lights, values.commands, values.seconds].map(Number);

/** Lights that report for the measurement; few enough to be in sight together. */
const PROBES = 6;
/** Between two reports. */
const PROBE_EVERY_MS = 97;

const world = await World.start({ lights: LIGHTS, gateways: 8, speed: 10, environment: { DOWNBEAT_PACING_DUTY_CYCLE: '1' } });
const browser = await startBrowser();
try {
  console.log(await measure());
} finally {
  await Promise.all([browser.close(), world.stop()]);
}

async function measure() {
  const probes = Array.from({ length: PROBES }, (_, number) => `70b3d57ed200000${number}`);
  for (const [number, devEui] of probes.entries()) {
    const device = { name: `A probe ${number}`, lorawan_dev_eui: devEui, codec: 'kuando_busylight' };
    await world.api('POST', '/tenants/default/devices', device);
  }
  const page = await openPage(browser, world, { viewport: { width: 1920, height: 1080 } });
  await signIn(page, ADMIN_KEY, values.path);
  const sentAt = new Map();
  const [took, answered] = [[], []];
  await page.exposeFunction('seen', (colour, at) => {
    const sent = sentAt.get(colour);
    if (sent !== undefined) took.push(at - sent.at);
    sentAt.delete(colour);
  });
  const heard = [];
  const reading = new AbortController();
  const reader = read(reading.signal, (text, at) => {
    for (const [colour, sent] of sentAt) {
      if (!sent.told && text.includes(parts(colour))) heard.push(at - sent.at), (sent.told = true);
    }
  });
  for (const devEui of probes) await report(devEui, 0, '#ffffff');
  await page.getByRole('gridcell').filter({ hasText: 'A probe' }).nth(PROBES - 1).waitFor();
  await page.evaluate(watch);

  const { devices } = await world.api('GET', '/tenants/default/devices?limit=1000');
  const lights = devices.filter(({ name }) => name.startsWith('Desk'));
  const load = new AbortController();
  const commands = command(lights, load.signal);
  const end = Date.now() + SECONDS * 1_000;
  for (let number = 1; Date.now() < end; number += 1) {
    // The page draws every colour as bright as it goes: one part is at its most.
    const colour = `#ff${((number * 37) % 0x10000).toString(16).padStart(4, '0')}`;
    const due = new Promise((resume) => setTimeout(resume, PROBE_EVERY_MS));
    sentAt.set(colour, { at: performance.timeOrigin + performance.now(), told: false });
    const begun = performance.now();
    await report(probes[number % PROBES], number, colour);
    answered.push(performance.now() - begun);
    await due;
  }
  load.abort();
  const { sent, failed } = await commands;
  await new Promise((resume) => setTimeout(resume, 2_000));
  reading.abort();
  await reader;
  const figures = await world.api('GET', '/metrics/downlinks?hours=1');
  return [
    `${LIGHTS} lights, ${sent} commands in ${SECONDS} s (${failed} refused), ${figures.success} verified, ${figures.under_way} under way`,
    `${took.length} reports seen, ${sentAt.size} not (a later one was quicker)`,
    `webhook to its answer:  ${shares(answered)}`,
    `webhook to the stream:  ${shares(heard)}`,
    `webhook to the screen:  ${shares(took)}`,
  ].join('\n');
}

function shares(took) {
  took.sort((a, b) => a - b);
  const at = (share) => Math.round(took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? NaN);
  return `p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms (${took.length})`;
}

/** Reads the stream of events beside the page: how much of the time is the service's. */
async function read(signal, take) {
  const headers = { authorization: `Bearer ${ADMIN_KEY}`, accept: 'text/event-stream' };
  try {
    const { body } = await fetch(`${world.address}/api/v1/tenants/default/events`, { headers, signal });
    for await (const piece of body.pipeThrough(new TextDecoderStream())) take(piece, performance.timeOrigin + performance.now());
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** A colour as events tell it. */
function parts(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return `"red":${red},"blue":${blue},"green":${green},`;
}

/** Sends colours at an even rate until it is told to stop. */
async function command(lights, signal) {
  let [sent, failed, number] = [0, 0, 0];
  const begun = Date.now();
  const calls = new Set();
  while (!signal.aborted) {
    const due = begun + (number * 1_000) / COMMANDS_PER_S;
    if (due > Date.now()) await new Promise((resume) => setTimeout(resume, due - Date.now()));
    const light = lights[(number * 7) % lights.length];
    const color = ['#ff0000', '#00ff00', '#0000ff', '#ff8000'][Math.floor(number / lights.length) % 4];
    const call = world.api('POST', `/downlink/${light.lorawan_dev_eui}?wait=0`, { color }).then(
      () => (sent += 1),
      () => (failed += 1),
    );
    calls.add(call);
    call.finally(() => calls.delete(call));
    number += 1;
  }
  await Promise.all(calls);
  return { sent, failed };
}

/** What ChirpStack posts of a light that reports its colour. */
async function report(devEui, fCnt, colour) {
  const bytes = Buffer.alloc(24);
  Buffer.from([0xab, 0xff, 0xff, 0xff]).copy(bytes);
  bytes.writeUInt32LE(fCnt, 8);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  bytes.set([red, blue, green, 255, 0], 16);
  const answer = await fetch(`${world.address}/api/v1/webhooks/chirpstack?event=up`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      deduplicationId: crypto.randomUUID(),
      time: new Date().toISOString(),
      deviceInfo: { devEui, deviceClassEnabled: 'CLASS_C' },
      devAddr: '005a28e6',
      dr: 5,
      fCnt,
      fPort: 15,
      data: bytes.toString('base64'),
      rxInfo: [{ gatewayId: '0016c00150330001', rssi: -87, snr: 7.75 }],
    }),
  });
  if (!answer.ok) throw new Error(`the webhook was answered ${answer.status}: ${await answer.text()}`);
}

/**
 * Runs in the page: tells each colour that comes to be in it, with the time at which its frame was handed to the screen.
 *
 * It looks at what changed and no further, so that what is measured is the page and not this.
 */
function watch() {
  const known = new Set();
  const hex = ([, red, green, blue]) =>
    `#${[red, green, blue].map((part) => Number(part).toString(16).padStart(2, '0')).join('')}`;
  // What is posted while a frame is made arrives when it is done.
  let inFrame = false;
  const after = (told) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => told(performance.timeOrigin + performance.now());
    channel.port2.postMessage(null);
  };
  const nextFrame = requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (callback) =>
    nextFrame((time) => {
      inFrame = true;
      after(() => (inFrame = false));
      callback(time);
    });
  const look = (changes) => {
    const tiles = new Set(changes.map(({ target }) => (target instanceof Element ? target : target.parentElement)?.closest('[role=gridcell]')));
    for (const tile of tiles) {
      if (!tile?.textContent.includes('A probe')) continue;
      for (const match of tile.innerHTML.matchAll(/#[0-9a-f]{6}|rgb\((\d+),? (\d+),? (\d+)\)/g)) {
        const colour = match[0].startsWith('#') ? match[0] : hex(match);
        if (known.has(colour)) continue;
        known.add(colour);
        const seen = (at) => window.seen(colour, at);
        if (inFrame) after(seen);
        else nextFrame(() => after(seen));
      }
    }
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
}
