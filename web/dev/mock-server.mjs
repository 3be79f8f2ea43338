/**
 * Plays a Downbeat server with a small fleet, to work on the page without one.
 *
 *   npm run mock         answers on 127.0.0.1:5174 (vite's dev server passes /api on to it); serves dist/ if it was built
 *   node dev/mock-server.mjs --port 5175 --lights 0 --role viewer
 *
 * The key is "demo-key", the ticket "demo". It keeps the API's shapes, not its promises: nothing is stored, and the
 * steps are thrown dice. Not part of what is shipped.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '5174' },
    lights: { type: 'string', default: '24' },
    role: { type: 'string', default: 'admin' },
  },
});

const DIST = fileURLToPath(new URL('../dist', import.meta.url));
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

const COLOURS = [
  [0, 255, 0, 255, 0],
  [255, 0, 0, 255, 0],
  [255, 165, 0, 255, 0],
  [0, 0, 255, 5, 5],
  [0, 255, 0, 255, 0],
  [160, 0, 255, 255, 0],
  [255, 255, 0, 10, 5],
  [0, 50, 0, 255, 0],
];
const PLACES = ['Parking', 'Desk', 'Meeting room', 'Gate'];

const light = ([red, green, blue, on_time, off_time]) => ({ red, green, blue, on_time, off_time });
const iso = (time = Date.now()) => new Date(time).toISOString();
const random = (from, to) => from + Math.random() * (to - from);

const world = { loss_up: 0.1, loss_down: 0.1 };
const streams = new Set();
const sessions = new Set();
const downlinks = new Map();

const gateways = ['Roof east', 'Roof west', 'Car park', 'Annex'].map((name, index) => ({
  gateway_id: `0016c001ff10a2${(0x30 + index).toString(16)}`,
  name,
  state: index === 3 ? 'never_seen' : 'online',
  last_seen: index === 3 ? null : iso(),
  powered: index !== 3,
}));

const devices = new Map(
  Array.from({ length: Number(options.lights) }, (_, index) => {
    const state = light(COLOURS[index % COLOURS.length]);
    const seen = index !== 11;
    const device = {
      id: randomUUID(),
      name: `${PLACES[Math.floor(index / 6) % PLACES.length]} ${(index % 6) + 1}`,
      lorawan_dev_eui: (0x202020410a3f0000n + BigInt(index * 7919)).toString(16),
      status: !seen ? 'never_seen' : index === 17 ? 'offline' : 'online',
      last_seen: seen ? iso(Date.now() - (index === 17 ? 5 * 3_600_000 : random(1, 700) * 1000)) : null,
      signal_strength: seen ? Math.round(random(-112, -62)) : null,
      snr: seen ? Number(random(-4, 10).toFixed(1)) : null,
      battery_level: null,
      desired: index === 17 ? light([255, 0, 0, 255, 0]) : state,
      reported: seen ? { ...state, at: iso() } : null,
      counter: Math.floor(random(2, 60)),
      f_cnt: Math.floor(random(100, 900)),
    };
    return [device.lorawan_dev_eui, device];
  }),
);

function publish(event, data) {
  for (const stream of streams) stream.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

function publicGateway({ powered: _, ...gateway }) {
  return gateway;
}

function step(downlink, name, more = {}, change = {}) {
  const entry = { seq: downlink.timeline.length, at: iso(), attempt: change.attempts ?? downlink.attempts, step: name, ...more };
  Object.assign(downlink, change, { updated_at: entry.at });
  if (downlink.status !== 'pending') downlink.finished_at ??= entry.at;
  downlink.timeline.push(entry);
  const { timeline: _, ...summary } = downlink;
  publish('downlink', { ...summary, step: entry });
}

function end(downlink, change) {
  step(downlink, 'ended', { state: change.state, reason: change.reason }, change);
}

const over = (downlink) => downlink.status !== 'pending';
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const awake = () => gateways.filter((gateway) => gateway.powered);

function accept(device, body, origin = 'api') {
  for (const other of downlinks.values()) {
    if (other.dev_eui !== device.lorawan_dev_eui || over(other)) continue;
    end(other, { state: 'superseded', status: 'failed', reason: 'newer_command' });
  }
  const at = iso();
  const downlink = {
    id: randomUUID(),
    dev_eui: device.lorawan_dev_eui,
    status: 'pending',
    state: 'accepted',
    verified: null,
    late: false,
    attempts: 0,
    queue_id: null,
    color: { red: body.red, green: body.green, blue: body.blue },
    on_time: body.on_time,
    off_time: body.off_time,
    origin,
    reason: null,
    created_at: at,
    updated_at: at,
    finished_at: null,
    evidence: null,
    timeline: [],
  };
  downlinks.set(downlink.id, downlink);
  device.desired = light([body.red, body.green, body.blue, body.on_time, body.off_time]);
  publish('device', { lorawan_dev_eui: device.lorawan_dev_eui, desired: device.desired });
  step(downlink, 'accepted');
  void live(device, downlink);
  return downlink;
}

async function live(device, downlink) {
  await wait(random(30, 90));
  for (let attempt = 1; attempt <= 4 && !over(downlink); attempt += 1) {
    while (awake().length === 0 && !over(downlink)) {
      if (downlink.reason !== 'no_gateway') {
        step(downlink, 'waiting', { reason: 'no_gateway' }, { state: 'waiting', reason: 'no_gateway' });
      }
      await wait(500);
    }
    if (over(downlink)) return;
    const queue_id = randomUUID();
    step(downlink, 'enqueued', { queue_id }, { state: 'enqueued', attempts: attempt, queue_id, reason: null });
    await wait(random(250, 700));
    const gateway = awake()[Math.floor(random(0, awake().length))];
    if (over(downlink)) return;
    if (!gateway) {
      step(downlink, 'not_transmitted', { foreign_items: 0 });
      const reason = 'not_transmitted';
      step(downlink, 'attempt_failed', { reason }, { state: 'waiting', reason });
      await wait(1500);
      continue;
    }
    const via = { gateway_id: gateway.gateway_id, f_cnt_down: device.counter + 40, spreading_factor: 9 };
    step(downlink, 'transmitted', via, { state: 'transmitted' });
    await wait(random(600, 1800));
    if (over(downlink)) return;
    const arrived = Math.random() >= world.loss_down;
    const heard = Math.random() >= world.loss_up;
    const before = device.counter;
    if (arrived) device.counter += 1;
    if (arrived && heard) {
      uplink(device, gateway, downlink);
      const evidence = {
        kind: 'counter_and_state',
        baseline: before,
        downlinks_received: device.counter,
        uplink: { at: iso(), f_cnt: device.f_cnt, gateway_id: gateway.gateway_id, rssi_dbm: device.signal_strength },
      };
      step(downlink, 'verified', { evidence, late: false }, { state: 'verified', status: 'success', verified: true, evidence });
      return;
    }
    await wait(2500);
    if (over(downlink)) return;
    const reason = arrived ? 'not_confirmed' : 'lost_on_air';
    step(downlink, 'attempt_failed', { reason }, { state: 'waiting', reason });
    await wait(2000);
  }
  if (over(downlink)) return;
  end(downlink, { state: 'unverified', status: 'unverified', verified: false, reason: 'not_confirmed' });
}

function uplink(device, gateway, state) {
  device.f_cnt += 1;
  const now = iso();
  const shown = state ? { ...state.color, on_time: state.on_time, off_time: state.off_time } : device.reported;
  Object.assign(device, {
    status: 'online',
    last_seen: now,
    signal_strength: Math.round(random(-112, -62)),
    reported: shown ? { ...shown, at: now } : null,
  });
  const { lorawan_dev_eui, status, last_seen, signal_strength, reported } = device;
  publish('device', { lorawan_dev_eui, status, last_seen, signal_strength, reported });
  gateway.last_seen = now;
  publish('gateway', publicGateway(gateway));
}

// Lights speak up now and then, as a fleet does.
setInterval(() => {
  const all = [...devices.values()].filter((device) => device.status === 'online');
  const device = all[Math.floor(random(0, all.length))];
  const gateway = awake()[0];
  if (device && gateway) uplink(device, gateway, null);
}, 1300).unref();

async function reboot(device) {
  await wait(1500);
  device.counter = 0;
  device.f_cnt = 0;
  device.reported = { ...light([0, 50, 0, 255, 0]), at: iso() };
  publish('device', { lorawan_dev_eui: device.lorawan_dev_eui, reported: device.reported, last_seen: iso() });
  await wait(2500);
  if (device.desired) accept(device, device.desired, 'reconcile');
}

function problem(status, title, detail) {
  return [status, { type: `urn:downbeat:problem:${status}`, title, status, detail }];
}

const signedIn = (request) => sessions.has(/downbeat_session=([\w-]+)/.exec(request.headers.cookie ?? '')?.[1]);

function signIn({ key, ticket }, response) {
  if (key !== 'demo-key' && ticket !== 'demo') return problem(401, 'Unknown key', 'This key is not known.');
  const id = randomUUID();
  sessions.add(id);
  response.setHeader('set-cookie', `downbeat_session=${id}; HttpOnly; SameSite=Strict; Path=/`);
  return [204];
}

function stream(request, response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  response.write(': open\n\n');
  streams.add(response);
  request.on('close', () => streams.delete(response));
}

/** Method and path to [status, body]; the first matching pattern answers. */
const ROUTES = [
  ['GET', /^\/session$/, () => [200, session()]],
  ['GET', /^\/tenants\/[^/]+\/devices$/, () => [200, { devices: [...devices.values()], next_cursor: null }]],
  ['GET', /^\/downlinks$/, () => [200, { downlinks: newest().slice(0, 50), next_cursor: null }]],
  ['GET', /^\/downlinks\/([^/]+)$/, ([id]) => found(downlinks.get(id), (downlink) => [200, downlink])],
  ['POST', /^\/downlinks\/([^/]+)\/cancel$/, ([id]) => found(downlinks.get(id), cancel)],
  ['POST', /^\/downlink\/([^/]+)$/, ([eui], body) => found(devices.get(eui), (device) => [202, accept(device, body)])],
  ['GET', /^\/gateways$/, () => [200, { gateways: gateways.map(publicGateway) }]],
  ['GET', /^\/simulator$/, () => [200, simulator()]],
  ['PATCH', /^\/simulator\/gateways\/([^/]+)$/, ([id], body) => power(id, body.online)],
  ['PATCH', /^\/simulator\/links$/, (_, body) => [200, Object.assign(world, body)]],
  ['POST', /^\/simulator\/lights\/([^/]+)\/reboot$/, ([eui]) => found(devices.get(eui), (device) => (void reboot(device), [204]))],
];

const session = () => ({ role: options.role, tenant: { id: randomUUID(), name: 'default' }, simulator: true });
const simulator = () => ({ gateways: gateways.map(({ gateway_id, powered }) => ({ gateway_id, online: powered })), links: world });
const newest = () => [...downlinks.values()].reverse().map(({ timeline: _, ...downlink }) => downlink);
const found = (thing, then) => (thing ? then(thing) : problem(404, 'Not found', 'There is no such thing.'));

function cancel(downlink) {
  if (over(downlink)) return problem(409, 'Already over', 'The command has already ended.');
  end(downlink, { state: 'cancelled', status: 'failed' });
  return [200, downlink];
}

function power(id, online) {
  return found(gateways.find((gateway) => gateway.gateway_id === id), (gateway) => {
    gateway.powered = online;
    setTimeout(() => {
      Object.assign(gateway, online ? { state: 'online', last_seen: iso() } : { state: 'offline' });
      publish('gateway', publicGateway(gateway));
    }, 1200);
    return [200, { online }];
  });
}

async function body(request) {
  let text = '';
  for await (const chunk of request) text += chunk;
  return text ? JSON.parse(text) : {};
}

async function api(request, response, path) {
  const content = await body(request);
  if (request.method !== 'GET' && request.headers['x-downbeat-request'] !== 'page') {
    return problem(403, 'Forbidden', 'The header X-Downbeat-Request is missing.');
  }
  if (request.method === 'POST' && path === '/session') return signIn(content, response);
  if (!signedIn(request)) return problem(401, 'Unauthorized', 'Sign in first.');
  if (request.method === 'DELETE' && path === '/session') return (sessions.clear(), [204]);
  for (const [method, pattern, answer] of ROUTES) {
    const match = method === request.method && pattern.exec(path);
    if (match) return answer(match.slice(1), content);
  }
  return problem(404, 'Not found', `There is no ${request.method} ${path}.`);
}

async function file(path, response) {
  const name = normalize(path === '/' ? '/index.html' : path);
  const content = await readFile(join(DIST, name)).catch(() => null);
  response.writeHead(content ? 200 : 404, {
    'content-type': TYPES[extname(name)] ?? 'text/plain',
    'content-security-policy': CSP,
  });
  response.end(content ?? 'Not found. Was the page built (npm run build)?');
}

async function answer(request, response) {
  const { pathname } = new URL(request.url, 'http://mock');
  if (!pathname.startsWith('/api/v1/')) return file(pathname, response);
  const path = pathname.slice('/api/v1'.length);
  if (path.endsWith('/events')) return signedIn(request) ? stream(request, response) : response.writeHead(401).end();
  const [status, content] = await api(request, response, path);
  response.writeHead(status, { 'content-type': status < 400 ? 'application/json' : 'application/problem+json' });
  response.end(content === undefined ? undefined : JSON.stringify(content));
}

createServer((request, response) => {
  answer(request, response).catch((error) => response.writeHead(500).end(String(error)));
}).listen(Number(options.port), '127.0.0.1', () => {
  process.stdout.write(`http://127.0.0.1:${options.port}/#ticket=demo\n`);
});
