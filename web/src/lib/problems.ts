/** What is wrong with the fleet at the moment, in words, and what to do about it. */
import type { Device, Gateway } from './types';

/** One open problem. */
export interface Problem {
  key: string;
  /** Whether commands suffer, or only will. */
  tone: 'bad' | 'setback';
  title: string;
  /** What it means, and what to do. */
  todo: string;
  /** Where it can be looked at or mended. */
  link?: { href: string; label: string };
}

/** `GET /airtime`, as far as problems are made of it. */
export interface Airtime {
  note: string | null;
  downlink: { data_rate: string; colour_ms: number };
  gateways: AirtimeOfGateway[];
}

/** The air of one gateway. */
export interface AirtimeOfGateway {
  gateway_id: string;
  name: string;
  colours_per_hour: number | null;
  paused_until: string | null;
  sub_bands: {
    name: string;
    budget_ms: number | null;
    used_ms: number;
    reserved_ms: number;
    free_ms: number | null;
    blocked_until: string | null;
  }[];
}

/** What is known of the service and the fleet; what could not be loaded is null and told by nobody. */
export interface Facts {
  /** `network_server` of `/readyz`. */
  networkServer: string | null;
  gateways: readonly Gateway[];
  devices: readonly Device[];
  airtime: Airtime | null;
  /** Devices that ChirpStack and the registry do not agree on, those ignored left out. */
  drift: number | null;
  /** Queues in ChirpStack that do not move. */
  stuckQueues: number | null;
  /** Devices that ChirpStack does not call class C, out of how many. */
  notClassC: number | null;
}

/** The problems, worst first. */
export function problems(facts: Facts): Problem[] {
  const found = [
    ...ofNetworkServer(facts.networkServer),
    ...ofGateways(facts.gateways),
    ...ofDevices(facts),
    ...ofAirtime(facts.airtime),
    ...ofDrift(facts),
  ];
  return found.toSorted((a, b) => Number(a.tone !== 'bad') - Number(b.tone !== 'bad'));
}

function ofNetworkServer(state: string | null): Problem[] {
  const settings = { href: '/settings', label: 'Settings' };
  switch (state) {
    case 'unavailable':
      return [
        {
          key: 'network-server',
          tone: 'bad',
          title: 'ChirpStack cannot be reached',
          todo: 'Commands are accepted and wait for it. Is ChirpStack running, and does the address in the settings lead to it?',
          link: settings,
        },
      ];
    case 'key_refused':
      return [
        {
          key: 'network-server',
          tone: 'bad',
          title: 'ChirpStack refuses the API key',
          todo: 'Nothing can be sent. Make a new key in ChirpStack, and set it here.',
          link: settings,
        },
      ];
    case 'not_configured':
      return [
        {
          key: 'network-server',
          tone: 'bad',
          title: 'No ChirpStack is set',
          todo: 'Commands wait until its address and an API key are set.',
          link: settings,
        },
      ];
    default:
      return [];
  }
}

function ofGateways(gateways: readonly Gateway[]): Problem[] {
  const offline = gateways.filter(({ state }) => state === 'offline');
  const mute = gateways.filter((gateway) => gateway.mute_since && gateway.state === 'online');
  const all = gateways.length > 0 && offline.length === gateways.length;
  const found: Problem[] = [];
  if (all) {
    found.push({
      key: 'gateways-offline',
      tone: 'bad',
      title: gateways.length === 1 ? 'The only gateway is silent' : `All ${gateways.length} gateways are silent`,
      todo: 'Nothing reaches the lights; commands wait. Check the network between the gateways and ChirpStack first.',
      link: { href: '/gateways', label: 'Gateways' },
    });
  } else if (offline.length > 0) {
    found.push({
      key: 'gateways-offline',
      tone: 'bad',
      title: offline.length === 1 ? `Gateway ${name(offline[0])} is silent` : `${offline.length} gateways are silent`,
      todo: `No sign of life in the last 5 minutes${offline.length === 1 ? '' : `: ${names(offline)}`}. Check power and network. Lights that others hear are reached through those.`,
      link: linkTo(offline),
    });
  }
  if (mute.length > 0) {
    found.push({
      key: 'gateways-mute',
      tone: 'bad',
      title: mute.length === 1 ? `Gateway ${name(mute[0])} does not send` : `${mute.length} gateways do not send`,
      todo: 'It hears lights but takes no downlinks, while others do. Restart its packet forwarder and look at its log. Others are used meanwhile.',
      link: linkTo(mute),
    });
  }
  return found;
}

function ofDevices({ devices, stuckQueues, notClassC }: Facts): Problem[] {
  const found: Problem[] = [];
  const failing = devices.filter(({ sync }) => sync && ['failing', 'conflict', 'rejected'].includes(sync.state));
  if (notClassC !== null && notClassC > 0) {
    found.push({
      key: 'class-c',
      tone: 'bad',
      title: `${counted(notClassC, 'device is', 'devices are')} not in Class C`,
      todo: 'They hear a command only after they spoke themselves, minutes later. Switch Class C on in their device profile in ChirpStack, then let them join again.',
    });
  }
  if (failing.length > 0) {
    found.push({
      key: 'sync',
      tone: 'setback',
      title: `${counted(failing.length, 'device', 'devices')} cannot be brought in step with ChirpStack`,
      todo: failing[0]?.sync?.error ?? 'The devices’ pages tell what is in the way.',
      link: { href: '/devices?synced=false', label: 'These devices' },
    });
  }
  if (stuckQueues !== null && stuckQueues > 0) {
    found.push({
      key: 'queues',
      tone: 'setback',
      title: `${counted(stuckQueues, 'queue', 'queues')} in ChirpStack ${stuckQueues === 1 ? 'does' : 'do'} not move`,
      todo: 'No gateway that hears the device is online. Its commands go out once one is.',
      link: { href: '/gateways', label: 'Gateways' },
    });
  }
  return found;
}

function ofAirtime(airtime: Airtime | null): Problem[] {
  if (!airtime) return [];
  const found: Problem[] = [];
  const blocked = airtime.gateways.filter(({ sub_bands }) => sub_bands.some(({ free_ms }) => free_ms === 0));
  if (blocked.length > 0) {
    found.push({
      key: 'airtime',
      tone: 'bad',
      title: `${counted(blocked.length, 'gateway has', 'gateways have')} no airtime left`,
      todo: 'The law allows no more for now: commands wait until the hour has gone on. A lower spreading factor for RX2, or another gateway, makes room.',
      link: { href: '/gateways', label: 'Gateways' },
    });
  }
  if (airtime.note !== null) {
    found.push({
      key: 'rx2',
      tone: 'setback',
      title: `RX2 sends at ${airtime.downlink.data_rate.split(' ')[0] ?? 'a slow data rate'}`,
      todo: airtime.note,
    });
  }
  return found;
}

function ofDrift({ drift }: Facts): Problem[] {
  if (drift === null || drift === 0) return [];
  return [
    {
      key: 'drift',
      tone: 'setback',
      title: `${counted(drift, 'device differs', 'devices differ')} between ChirpStack and here`,
      todo: 'Decide for each which side is right.',
      link: { href: '/drift', label: 'Drift' },
    },
  ];
}

function counted(count: number, one: string, many: string): string {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}

function name(gateway: Gateway | undefined): string {
  return gateway ? gateway.name || gateway.gateway_id : '';
}

/** As many names as are read; the rest by number. */
function names(gateways: readonly Gateway[]): string {
  const shown = gateways.slice(0, 3).map(name).join(', ');
  return gateways.length > 3 ? `${shown} and ${gateways.length - 3} more` : shown;
}

function linkTo(gateways: readonly Gateway[]): { href: string; label: string } {
  const [only] = gateways;
  return gateways.length === 1 && only
    ? { href: `/gateways/${only.gateway_id}`, label: 'The gateway' }
    : { href: '/gateways', label: 'Gateways' };
}
