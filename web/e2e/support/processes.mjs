/**
 * The real binary: a simulated ChirpStack with gateways and lights, and the service in front of it.
 *
 * They are processes of their own, as they are run. The simulation stays while the service is killed and started again.
 */
import { spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { until } from './until.mjs';

const root = resolve(import.meta.dirname, '..', '..', '..');

/** The binary that is tested; `tools/test` names the one it built. */
const BINARY = process.env.DOWNBEAT ?? join(root, 'target', 'debug', 'downbeat');

/** A key with all rights. */
export const ADMIN_KEY = 'an-administrator-of-the-tests';

/** How much faster than real time lights, air and ChirpStack live. */
const SPEED = 10;

/** A light that joins and speaks does so well within this. */
const REBOOT_AGAIN_MS = 15_000;

/** A simulated network and the service in front of it, with all its lights registered. */
export class World {
  /** Where the service listens, the same after each start: `http://127.0.0.1:port`. */
  address;
  /** Where the simulation tells the truth and takes faults. */
  control;
  #data = mkdtempSync(join(tmpdir(), 'downbeat-e2e-'));
  #environment;
  #service;
  #simulation;

  /** Starts everything; `registered` false leaves the lights unknown to the service. */
  static async start({ lights = 6, gateways = 2, registered = true, speed = SPEED, environment = {} } = {}) {
    const world = new World();
    try {
      await world.#start(lights, gateways, speed, environment);
      if (registered && lights > 0) await world.#register();
    } catch (error) {
      await world.stop();
      throw error;
    }
    return world;
  }

  async #start(lights, gateways, speed, environment) {
    accessSync(BINARY, constants.X_OK);
    const port = await freePort();
    this.address = `http://127.0.0.1:${port}`;
    const arguments_ = ['sim', '--grpc', '127.0.0.1:0', '--control', '127.0.0.1:0', '--speed', `${speed}`];
    arguments_.push('--lights', `${lights}`, '--gateways', `${gateways}`);
    arguments_.push('--webhook', `${this.address}/api/v1/webhooks/chirpstack`);
    arguments_.push('--webhook-header', `Authorization: Bearer ${ADMIN_KEY}`);
    this.#simulation = run(arguments_);
    const [grpc, key, control, tenant] = await says(this.#simulation, [
      /^ChirpStack \(gRPC\)\s+(\S+)/,
      /^API key\s+(\S+)/,
      /^Control and truth\s+(\S+)\/lights/,
      /^Tenant\s+(\S+)/,
    ]);
    this.control = control;
    this.#environment = {
      DOWNBEAT_LISTEN: `127.0.0.1:${port}`,
      DOWNBEAT_DATA_DIR: this.#data,
      DOWNBEAT_ADMIN_KEY: ADMIN_KEY,
      DOWNBEAT_CHIRPSTACK_URL: grpc,
      DOWNBEAT_CHIRPSTACK_API_KEY: key,
      DOWNBEAT_CHIRPSTACK_TENANT_ID: tenant,
      DOWNBEAT_LOG: process.env.DOWNBEAT_LOG ?? 'error',
      // The simulated network lives faster than real time; so may the patience with it.
      DOWNBEAT_DOWNLINK_BACKOFF_S: '1',
      DOWNBEAT_DOWNLINK_WINDOW_S: '5',
      DOWNBEAT_DOWNLINK_ITEM_TTL_S: '5',
      ...environment,
    };
    await this.startService();
  }

  /** Registers the simulated lights and waits until each was heard. */
  async #register() {
    const { lights } = await (await fetch(`${this.control}/lights`)).json();
    for (const [index, light] of lights.entries()) {
      const name = `Desk ${String(index + 1).padStart(2, '0')}`;
      const device = { name, lorawan_dev_eui: light.dev_eui, codec: 'kuando_busylight', tags: { floor: `${index % 3}` } };
      await this.api('POST', '/tenants/default/devices', device);
      await this.#reboot(light.dev_eui);
    }
    // A light speaks once after its start and then not for long: one whose word is lost on the air is started again.
    let again = Date.now() + REBOOT_AGAIN_MS;
    await until('every light is heard', async () => {
      const { devices } = await this.api('GET', '/tenants/default/devices?limit=1000');
      const silent = devices.filter((device) => !device.reported);
      if (Date.now() > again) {
        again = Date.now() + REBOOT_AGAIN_MS;
        for (const device of silent) await this.#reboot(device.lorawan_dev_eui);
      }
      return silent.length === 0;
    });
  }

  /** What a light said before was said to nobody: power again, and it joins and speaks. */
  async #reboot(devEui) {
    const rebooted = await fetch(`${this.control}/lights/${devEui}/reboot`, { method: 'POST' });
    if (!rebooted.ok) throw new Error(`the light ${devEui} does not restart: ${rebooted.status}`);
  }

  /** Starts the service, on the data that it had. */
  async startService() {
    this.#service = run(['serve'], this.#environment);
    await says(this.#service, [/^Downbeat listens on (\S+)/]);
  }

  /** `kill -9`, as a power cut does it. */
  async killService() {
    await end(this.#service, 'SIGKILL');
  }

  /** Calls the API; gives the answer's body, or throws what was wrong. */
  async api(method, path, body = undefined, key = ADMIN_KEY) {
    const isText = typeof body === 'string';
    const answer = await fetch(`${this.address}/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { 'content-type': isText ? 'text/csv' : 'application/json' }),
      },
      body: body === undefined || isText ? body : JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  }

  /** Makes a key of that role, of the platform or of a tenant. */
  async key(role, tenant = undefined) {
    const path = tenant === undefined ? '/keys' : `/tenants/${tenant}/keys`;
    return (await this.api('POST', path, { role, name: `${role} of the tests` })).key;
  }

  /** Changes something of the simulation, like `/gateways/{id}` to `{"online": false}`. */
  async simulate(path, change) {
    const answer = await fetch(`${this.control}${path}`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(change),
    });
    if (!answer.ok) throw new Error(`${path} of the simulation: ${answer.status} ${await answer.text()}`);
  }

  /** Ends everything and removes what was kept. */
  async stop() {
    await Promise.all([end(this.#service, 'SIGKILL'), end(this.#simulation, 'SIGKILL')]);
    rmSync(this.#data, { recursive: true, force: true });
  }
}

/** All that run: none outlives the tests, however those end. */
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

function run(arguments_, environment = {}) {
  const child = spawn(BINARY, arguments_, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...environment } });
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

/** Waits until a process has written a line for each pattern; gives what their first groups matched. */
async function says(child, patterns) {
  const found = patterns.map(() => undefined);
  for await (const line of createInterface({ input: child.stdout })) {
    patterns.forEach((pattern, index) => (found[index] ??= line.match(pattern)?.[1]));
    if (found.every((it) => it !== undefined)) {
      // Whatever it writes later is not to fill the pipe.
      child.stdout.resume();
      return found;
    }
  }
  throw new Error(`${child.spawnargs.join(' ')} ended before it said what was expected`);
}

function end(child, signal) {
  if (!child || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((done) => {
    child.once('exit', done);
    child.kill(signal);
  });
}

/** A port that nobody listens on now. */
function freePort() {
  return new Promise((found, failed) => {
    const server = createServer();
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => found(port));
    });
  });
}
