/** Differences between the registry and ChirpStack in words, and what each way out of them does. */
import type { Drift, Resolution } from './api/drift';
import type { Tone } from './words';

const KINDS: Record<string, [label: string, tone: Tone, meaning: string]> = {
  differs: ['Differs', 'setback', 'Both have it, with other values.'],
  missing_in_chirpstack: ['Missing in ChirpStack', 'bad', 'It is registered here, and ChirpStack does not know it: it cannot be reached.'],
  missing_in_registry: ['Not registered', 'quiet', 'ChirpStack has it in an application of this tenant, and it is not registered here.'],
};

const FIELDS: Record<string, string> = {
  name: 'Name',
  description: 'Description',
  chirpstack_app_id: 'Application',
  device_profile_id: 'Device profile',
};

/** A kind of difference: label, tone and meaning. */
export function driftWords(kind: string): { label: string; tone: Tone; meaning: string } {
  const [label, tone, meaning] = KINDS[kind] ?? [kind.replaceAll('_', ' '), 'quiet' as const, ''];
  return { label, tone, meaning };
}

/** A field as people call it. */
export function fieldWords(field: string): string {
  if (field.startsWith('tags.')) return `Tag ${field.slice('tags.'.length)}`;
  return FIELDS[field] ?? field.replaceAll('_', ' ');
}

/** The ways out of a difference, the likeliest first: the registry is where people work. */
export function waysOut(drift: Pick<Drift, 'kind' | 'ignored'>): Resolution[] {
  if (drift.ignored) return ['unignore'];
  switch (drift.kind) {
    case 'missing_in_chirpstack':
      return ['push', 'ignore'];
    case 'missing_in_registry':
      return ['adopt', 'ignore'];
    default:
      return ['push', 'adopt', 'ignore'];
  }
}

/** A way out as a button says it, as a question's title says it, and what is said after it. */
export const WAYS: Readonly<Record<Resolution, { label: string; title: string; done: string }>> = {
  push: { label: 'Push', title: 'Push to ChirpStack?', done: 'is being brought to ChirpStack' },
  adopt: { label: 'Adopt', title: 'Adopt from ChirpStack?', done: 'was taken over from ChirpStack' },
  ignore: { label: 'Ignore', title: 'Ignore this?', done: 'is ignored' },
  unignore: { label: 'Look at it again', title: 'Look at it again?', done: 'is looked at again' },
};

/** What a way out does, for who is about to do it to so many devices. */
export function wayMeans(way: Resolution, devices: number): string {
  const them = devices === 1 ? 'this device' : `all ${devices} devices`;
  switch (way) {
    case 'push':
      return `ChirpStack takes the registry’s word for ${them}: what differs is overwritten there, and what is missing there is made. Devices that only ChirpStack has are left as they are.`;
    case 'adopt':
      return `The registry takes ChirpStack’s word for ${them}: what differs is overwritten here, and devices that are not registered are. Devices that ChirpStack does not have are left as they are.`;
    case 'ignore':
      return `Everything stays as it is for ${them}, and it is no longer counted as a problem.`;
    case 'unignore':
      return `What was ignored of ${them} is listed as a difference again.`;
  }
}
