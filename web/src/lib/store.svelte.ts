/**
 * Everything the page knows, kept true by the live stream.
 *
 * One load when the stream opens (and after each break of it), then events only. Events that come while a load is under
 * way are applied after it, so an answer that was already on its way never overwrites newer news.
 */
import { SvelteMap } from 'svelte/reactivity';
import * as api from './api';
import { isConverged } from './device-filter';
import { DeviceSelection } from './device-selection.svelte';
import { listen, type LiveEvent } from './live';
import { activeByDevice, fromEvent, mergeDevice, mergeDownlink, mergeGateway, mergeRegistered, verifiedShare } from './merge';
import { notices } from './notices.svelte';
import { Registry } from './registry.svelte';
import { keepChoice, withChoice } from './tenant-choice';
import type { ColourCommand, Device, Downlink, Gateway, RegistryEvent, Session, SyncEvent } from './types';

/** Commands kept in the page; older ones are in the API. */
const DOWNLINKS_MAX = 200;

/** Commands sent at the same time when many lights are selected. */
const SENDS_AT_ONCE = 6;

/** Without an open stream after this long, the lists are loaded all the same. */
const STREAM_PATIENCE_MS = 1_500;

/** Changes of the registry that come within this are looked up together. */
const SETTLE_MS = 300;

/** After the list was loaded for many of them, no sooner than this: an import goes on for a while. */
const SETTLE_MANY_MS = 5_000;

/** So many changed devices are looked up one by one; of more, the list is loaded. */
const LOOKED_UP_MAX = 20;

class Fleet {
  phase = $state<'starting' | 'signed-out' | 'ready' | 'unreachable'>('starting');
  session = $state.raw<Session | null>(null);
  /** Whether the session ended without anybody having signed out. */
  ended = $state(false);
  /** Whether the lists were loaded once. */
  loaded = $state(false);
  loadError = $state<string | null>(null);
  stream = $state<'connecting' | 'live' | 'lost'>('connecting');
  /** Milliseconds since the epoch: when the stream broke. */
  lostAt = $state<number | null>(null);

  /** By DevEUI. */
  readonly deviceByEui = new Registry<Device>();
  readonly downlinkById = new SvelteMap<string, Downlink>();
  readonly gatewayById = new Registry<Gateway>();
  /** Simulated gateways as they were switched, which the network notices only later. */
  readonly gatewaySwitch = new SvelteMap<string, boolean>();
  /** Share of frames lost in the simulation, 0 to 1. */
  loss = $state<number | null>(null);

  /** DevEUIs of the selected lights. */
  readonly selection = new DeviceSelection();
  /** Id of the command whose story is shown. */
  chosenId = $state<string | null>(null);
  /** By name. */
  readonly devices = $derived(this.deviceByEui.sorted());
  readonly gateways = $derived(this.gatewayById.sorted());
  /** Newest first. */
  readonly downlinks = $derived([...this.downlinkById.values()].sort(newestFirst));
  readonly active = $derived(activeByDevice(this.downlinkById.values()));
  readonly chosen = $derived(this.chosenId === null ? null : (this.downlinkById.get(this.chosenId) ?? null));
  readonly converged = $derived(this.devices.filter(isConverged).length);
  readonly gatewaysOnline = $derived(this.gateways.filter((gateway) => gateway.state === 'online').length);
  readonly verifiedShare = $derived(verifiedShare(this.downlinkById.values()));
  readonly mayCommand = $derived(this.session?.role === 'admin' || this.session?.role === 'operator');
  readonly maySimulate = $derived(this.mayCommand && this.session?.simulator === true);

  #listeners = new Set<(event: LiveEvent) => void>();
  #stopListening: (() => void) | null = null;
  #loading = false;
  #loadAgain = false;
  #held: LiveEvent[] = [];
  /** Ids of devices that somebody changed in the registry, and that are to be looked up. */
  readonly #changed = new Set<string>();
  #settling: ReturnType<typeof setTimeout> | undefined;
  #settle = SETTLE_MS;

  constructor() {
    api.whenSignedOut(() => {
      if (this.session) void this.#checkSession();
    });
  }

  /** Signs in by the address's ticket if there is one, else by the session that may exist. */
  async start(): Promise<void> {
    this.phase = 'starting';
    const ticket = takeTicket();
    try {
      // A used or foreign ticket is no reason to stop: a session may exist all the same.
      if (ticket) await api.signIn({ ticket }).catch(() => undefined);
      const session = await api.session();
      if (session) this.#enter(await withChoice(session));
      else this.phase = 'signed-out';
    } catch {
      this.phase = 'unreachable';
    }
  }

  /** Signs in by a key; throws what went wrong. */
  async signIn(key: string): Promise<void> {
    await api.signIn({ key });
    const session = await api.session();
    if (!session) throw new Error('Signed in, but the browser did not keep the session. Are cookies allowed?');
    this.#enter(await withChoice(session));
  }

  /** Ends the session and forgets everything shown. */
  async signOut(): Promise<void> {
    await api.signOut().catch(() => undefined);
    this.#leave();
  }

  /** Looks at another tenant, as the platform's administrators may; everything shown is that tenant's from then on. */
  lookAt({ id, name }: Session['tenant']): void {
    const { session } = this;
    if (!session || session.tenant.id === id) return;
    keepChoice(id);
    this.#forget();
    this.#enter({ ...session, tenant: { id, name } });
  }

  /** The tenant that is looked at has another name. */
  renamed(name: string): void {
    if (this.session) this.session = { ...this.session, tenant: { ...this.session.tenant, name } };
  }

  /** Shows a command's story. */
  async choose(id: string): Promise<void> {
    this.chosenId = id;
    await this.#loadChosen();
  }

  /** Sends a colour to lights, and shows the story of the first; answers its id if one was accepted. */
  async send(devEuis: string[], command: ColourCommand): Promise<string | null> {
    const refused: string[] = [];
    let shown: string | null = null;
    const waiting = [...devEuis];
    const worker = async () => {
      for (let devEui = waiting.shift(); devEui !== undefined; devEui = waiting.shift()) {
        try {
          const downlink = await api.sendColour(devEui, command);
          this.#putDownlink(downlink);
          if (shown === null) {
            shown = downlink.id;
            void this.choose(downlink.id);
          }
        } catch (error) {
          refused.push(`${this.deviceName(devEui)}: ${api.errorWords(error)}`);
        }
      }
    };
    await Promise.all(Array.from({ length: SENDS_AT_ONCE }, worker));
    if (refused.length) notices.problem(`Not accepted (${refused.length} of ${devEuis.length}). ${refused[0]}`);
    return shown;
  }

  /** Cancels the command whose story is shown. */
  async cancel(id: string): Promise<void> {
    const answer = await attempt('The command could not be cancelled', () => api.cancel(id));
    if (answer?.value?.id) this.#putDownlink(answer.value);
    await this.#loadChosen();
  }

  /** Switches a simulated gateway. */
  async switchGateway(gatewayId: string, online: boolean): Promise<void> {
    const before = this.gatewaySwitch.get(gatewayId);
    this.gatewaySwitch.set(gatewayId, online);
    if (await attempt('The gateway could not be switched', () => api.switchGateway(gatewayId, online))) return;
    if (before === undefined) this.gatewaySwitch.delete(gatewayId);
    else this.gatewaySwitch.set(gatewayId, before);
  }

  /** Sets the share of frames lost in the simulation. */
  async setLoss(share: number): Promise<void> {
    const before = this.loss;
    this.loss = share;
    if (!(await attempt('The loss could not be set', () => api.setLoss(share)))) this.loss = before;
  }

  /** Restarts simulated lights. */
  async reboot(devEuis: string[]): Promise<void> {
    const done = await attempt('Not every light could be restarted', () => Promise.all(devEuis.map(api.reboot)));
    if (!done) return;
    const what = devEuis.length === 1 ? this.deviceName(devEuis[0] ?? '') : `${devEuis.length} lights`;
    notices.info(`${what} lost power for a moment. Watch the colour come back by itself.`);
  }

  /** Tells of every live event after the store has taken it in; the returned function ends that. */
  listen(listener: (event: LiveEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The tenant as paths of the API name it. */
  get tenant(): string {
    return this.session ? encodeURIComponent(tenantPath(this.session)) : '';
  }

  /** Takes a device that was deleted off the page. */
  forgetDevice(devEui: string): void {
    this.deviceByEui.delete(devEui);
    this.selection.delete(devEui);
  }

  /** A light's name by its DevEUI. */
  deviceName(devEui: string): string {
    return this.deviceByEui.get(devEui)?.name || devEui;
  }

  /** A gateway's name by its id. */
  readonly gatewayName = (gatewayId: string): string => this.gatewayById.get(gatewayId)?.name || gatewayId;

  /** Loads the lists; asked again while it runs, it runs once more. */
  async load(): Promise<void> {
    if (this.#loading) {
      this.#loadAgain = true;
      return;
    }
    this.#loading = true;
    try {
      do {
        this.#loadAgain = false;
        await this.#loadOnce();
      } while (this.#loadAgain && this.session);
    } finally {
      this.#loading = false;
      this.#apply(this.#held.splice(0));
    }
  }

  #enter(session: Session): void {
    this.session = session;
    this.ended = false;
    this.phase = 'ready';
    const impatient = setTimeout(() => void this.load(), STREAM_PATIENCE_MS);
    const stop = listen(tenantPath(session), {
      opened: (resumed) => {
        clearTimeout(impatient);
        this.stream = 'live';
        this.lostAt = null;
        if (!resumed || !this.loaded || this.loadError !== null) void this.load();
      },
      lost: () => {
        if (this.stream === 'live') this.lostAt ??= Date.now();
        this.stream = this.loaded ? 'lost' : 'connecting';
      },
      refused: () => void this.#checkSession(),
      events: (batch) => this.#apply(batch),
    });
    this.#stopListening = () => {
      clearTimeout(impatient);
      stop();
    };
    if (session.simulator) void this.#loadSimulator();
  }

  #leave(): void {
    this.#forget();
    this.session = null;
    this.phase = 'signed-out';
  }

  /** Everything that is a tenant's. */
  #forget(): void {
    this.#stopListening?.();
    this.#stopListening = null;
    this.#held = [];
    this.#changed.clear();
    clearTimeout(this.#settling);
    this.#settling = undefined;
    this.loaded = false;
    this.loadError = null;
    this.stream = 'connecting';
    this.lostAt = null;
    this.chosenId = null;
    this.loss = null;
    const kept = [this.deviceByEui, this.downlinkById, this.gatewayById, this.gatewaySwitch, this.selection];
    for (const things of kept) things.clear();
  }

  async #checkSession(): Promise<void> {
    const session = await api.session().catch(() => undefined);
    if (session !== null) return;
    this.#leave();
    this.ended = true;
  }

  async #loadOnce(): Promise<void> {
    const { session } = this;
    if (!session) return;
    try {
      const tenant = session.tenant.id;
      const [downlinks, gateways] = await Promise.all([api.downlinks(tenant), api.gateways(tenant)]);
      if (this.session !== session) return;
      replace(this.gatewayById, gateways, (gateway) => gateway.gateway_id);
      // The first lights are shown while the last of many are still on their way.
      const known = new Set<string>();
      for await (const page of api.devicePages(tenantPath(session))) {
        if (this.session !== session) return;
        for (const device of page) {
          if (device.lorawan_dev_eui === null) continue;
          known.add(device.lorawan_dev_eui);
          this.deviceByEui.set(device.lorawan_dev_eui, device);
        }
      }
      this.deviceByEui.retain(known);
      for (const downlink of downlinks) this.#putDownlink(downlink);
      this.selection.replace([...this.selection.keys].filter((devEui) => this.deviceByEui.has(devEui)));
      this.chosenId ??= this.downlinks[0]?.id ?? null;
      this.loaded = true;
      this.loadError = null;
      await this.#loadChosen();
    } catch (error) {
      if (!(error instanceof api.ApiError && error.status === 401)) this.loadError = api.errorWords(error);
    }
  }

  async #loadChosen(): Promise<void> {
    const id = this.chosenId;
    if (id === null) return;
    const answer = await attempt('The command’s story could not be loaded', () => api.downlink(id));
    if (answer) this.#putDownlink(answer.value);
  }

  async #loadSimulator(): Promise<void> {
    // Only a convenience: without it the switches start from the gateways' reported states.
    const simulator = await api.simulator().catch(() => null);
    for (const { gateway_id, online } of simulator?.gateways ?? []) this.gatewaySwitch.set(gateway_id, online);
    this.loss ??= simulator?.links?.loss_down ?? null;
  }

  #apply(batch: LiveEvent[]): void {
    if (!this.session) return;
    if (this.#loading) {
      this.#held.push(...batch);
      return;
    }
    for (const event of batch) {
      if (event.type === 'reset') void this.load();
      else if (event.type === 'device') this.#putDevice(event.data);
      else if (event.type === 'downlink') this.#putDownlink(fromEvent(event.data));
      else if (event.type === 'gateway') this.#putGateway(event.data);
      else if (event.type === 'sync') this.#putSync(event.data);
      else if (event.type === 'registry') this.#follow(event.data);
      for (const listener of this.#listeners) listener(event);
    }
    this.#prune();
  }

  #putDevice(patch: Parameters<typeof mergeDevice>[1]): void {
    this.deviceByEui.set(patch.lorawan_dev_eui, mergeDevice(this.deviceByEui.get(patch.lorawan_dev_eui), patch));
  }

  /** The registry changed: what is gone goes, and what is new or other is looked up. */
  #follow({ change, id, lorawan_dev_eui: devEui }: RegistryEvent): void {
    if (change === 'deleted') {
      this.#changed.delete(id);
      if (devEui !== null) this.forgetDevice(devEui);
      return;
    }
    this.#changed.add(id);
    this.#settling ??= setTimeout(() => {
      this.#settling = undefined;
      void this.#lookUp();
    }, this.#settle);
  }

  async #lookUp(): Promise<void> {
    const { session } = this;
    const ids = [...this.#changed];
    this.#changed.clear();
    if (!session) return;
    const isMany = ids.length > LOOKED_UP_MAX;
    this.#settle = isMany ? SETTLE_MANY_MS : SETTLE_MS;
    if (isMany) return this.load();
    const found = await Promise.all(ids.map((id) => api.device(tenantPath(session), id).catch((error: unknown) => error)));
    if (this.session !== session) return;
    for (const [index, device] of found.entries()) {
      if (device instanceof api.ApiError && device.status === 404) continue;
      // Rather all than not knowing.
      if (device instanceof Error) return this.load();
      this.#putRegistered(ids[index] ?? '', device as Device);
    }
  }

  #putRegistered(id: string, device: Device): void {
    const devEui = device.lorawan_dev_eui;
    const before = this.devices.find((known) => known.id === id)?.lorawan_dev_eui ?? null;
    if (before !== null && before !== devEui) this.forgetDevice(before);
    if (devEui !== null) this.deviceByEui.set(devEui, mergeRegistered(this.deviceByEui.get(devEui), device));
  }

  #putSync(event: SyncEvent): void {
    const known = this.deviceByEui.get(event.lorawan_dev_eui);
    if (!known) return;
    const { chirpstack_synced, state, error, attempts, next_attempt_at } = event;
    const sync = { state, error, attempts, next_attempt_at };
    this.deviceByEui.set(event.lorawan_dev_eui, { ...known, chirpstack_synced, sync });
  }

  #putGateway(gateway: Gateway): void {
    this.gatewayById.set(gateway.gateway_id, mergeGateway(this.gatewayById.get(gateway.gateway_id), gateway));
  }

  #putDownlink(downlink: Downlink): void {
    this.downlinkById.set(downlink.id, mergeDownlink(this.downlinkById.get(downlink.id), downlink));
  }

  /** Forgets the oldest commands when there are too many; once for many events. */
  #prune(): void {
    const excess = this.downlinkById.size - DOWNLINKS_MAX;
    if (excess <= 0) return;
    const oldest = this.downlinks.filter(({ id }) => id !== this.chosenId).slice(-excess);
    for (const { id } of oldest) this.downlinkById.delete(id);
  }
}

/** The page's one store. */
export const fleet = new Fleet();

/** The ticket in the address, which is taken out of it: it is good once, and no matter for the history. */
function takeTicket(): string | null {
  const ticket = new URLSearchParams(location.hash.slice(1)).get('ticket');
  if (ticket !== null) history.replaceState(null, '', location.pathname + location.search);
  return ticket;
}

/** The tenant as paths name it: the default one by name, so that its paths stay the same after a new installation. */
function tenantPath(session: Session): string {
  return session.tenant.name === 'default' ? 'default' : session.tenant.id;
}

async function attempt<T>(failure: string, action: () => Promise<T>): Promise<{ value: T } | null> {
  try {
    return { value: await action() };
  } catch (error) {
    notices.problem(`${failure}: ${api.errorWords(error)}`);
    return null;
  }
}

function replace<T extends { name: string }>(registry: Registry<T>, values: T[], key: (value: T) => string): void {
  registry.retain(new Set(values.map(key)));
  for (const value of values) registry.set(key(value), value);
}

/** Times of one zone and form sort as text. */
function newestFirst(a: Downlink, b: Downlink): number {
  if (a.created_at === b.created_at) return a.id < b.id ? 1 : -1;
  return a.created_at < b.created_at ? 1 : -1;
}
