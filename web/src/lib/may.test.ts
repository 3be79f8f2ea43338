import { describe, expect, it } from 'vitest';
import { allows, type Permission } from './may';

const ALL: Permission[] = ['command', 'administer', 'platform', 'simulate'];

describe('allows', () => {
  it.each([
    ['viewer', true, true, []],
    ['operator', true, true, ['command', 'simulate']],
    ['operator', true, false, ['command']],
    ['admin', false, false, ['command', 'administer']],
    ['admin', true, true, ALL],
    ['webhook', true, true, []],
  ])('%s, of the platform: %s, simulated: %s', (role, platform, simulator, expected) => {
    expect(ALL.filter((permission) => allows({ role, platform, simulator }, permission))).toEqual(expected);
  });

  it('allows nothing to nobody', () => {
    expect(ALL.filter((permission) => allows(null, permission))).toEqual([]);
  });
});
