/** What a tenant may have otherwise than the configuration, as fields of a form: text in, checked values out. */
import type { Policy } from './api/tenants';

/** A number of a policy, with its bounds. */
export interface PolicyNumber {
  name: NumberName;
  label: string;
  unit: string;
  help: string;
  least: number;
  most: number;
}

/** A switch of a policy. */
export interface PolicySwitch {
  name: SwitchName;
  label: string;
  help: string;
}

type NumberName = 'attempts' | 'backoff_s' | 'ttl_s' | 'window_s' | 'reconcile_pause_s' | 'refresh_after';
type SwitchName = 'until_deadline' | 'reconcile' | 'initialise';

/** A form's text by field; empty is "as configured". Switches are `yes`, `no` or empty. */
export type PolicyText = Record<NumberName | SwitchName, string>;

/** The numbers, in the order of a form. */
export const NUMBERS: readonly PolicyNumber[] = [
  { name: 'attempts', label: 'Attempts', unit: '', help: 'Attempts of a command in all.', least: 1, most: 20 },
  { name: 'backoff_s', label: 'Pause before the second attempt', unit: 's', help: 'Doubled for each further one.', least: 1, most: 3600 },
  { name: 'ttl_s', label: 'Time to live', unit: 's', help: 'From acceptance until no attempt is begun any more.', least: 1, most: 604_800 },
  { name: 'window_s', label: 'Time to prove', unit: 's', help: 'Least that a device has to prove a command that went out.', least: 5, most: 86_400 },
  { name: 'reconcile_pause_s', label: 'Pause between corrections', unit: 's', help: 'Least between two commands that set a light right.', least: 1, most: 86_400 },
  { name: 'refresh_after', label: 'Refresh after', unit: 'reports', help: 'Reports without a downlink after which the wanted light is sent again.', least: 1, most: 200 },
];

/** The switches, in the order of a form. */
export const SWITCHES: readonly PolicySwitch[] = [
  { name: 'reconcile', label: 'Set lights right', help: 'A light that shows something else than wanted is told again.' },
  { name: 'initialise', label: 'Initialise after a join', help: 'A light that joined or restarted gets the settings that it needs.' },
  { name: 'until_deadline', label: 'Try until the deadline', help: 'Attempts are not counted out, but go on for the time to live.' },
];

/** The form's text of a policy. */
export function policyText(policy: Policy): PolicyText {
  const text = {} as PolicyText;
  for (const { name } of NUMBERS) text[name] = policy[name] === undefined ? '' : String(policy[name]);
  for (const { name } of SWITCHES) text[name] = policy[name] === undefined ? '' : policy[name] ? 'yes' : 'no';
  return text;
}

/** The policy that a form's text says, or what is wrong with it, by field. */
export function readPolicy(text: PolicyText): { policy: Policy; wrong: Partial<Record<keyof PolicyText, string>> } {
  const policy: Policy = {};
  const wrong: Partial<Record<keyof PolicyText, string>> = {};
  for (const { name, least, most } of NUMBERS) {
    const number = readWhole(text[name], least, most);
    if (typeof number === 'string') wrong[name] = number;
    else if (number !== null) policy[name] = number;
  }
  for (const { name } of SWITCHES) if (text[name] !== '') policy[name] = text[name] === 'yes';
  return { policy, wrong };
}

/** A whole number within bounds, null for empty text, or what is wrong with it. */
export function readWhole(text: string, least: number, most: number): number | null | string {
  const trimmed = text.trim();
  if (trimmed === '') return null;
  const number = /^\d+$/.test(trimmed) ? Number(trimmed) : Number.NaN;
  return number >= least && number <= most ? number : `must be a whole number from ${least} to ${most}`;
}
