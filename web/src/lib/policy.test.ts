import { expect, it } from 'vitest';
import { NUMBERS, SWITCHES, policyText, readPolicy, readWhole } from './policy';

it('what a form shows of a policy reads as the same policy', () => {
  const policy = { attempts: 7, reconcile: false, initialise: true, ttl_s: 600 };
  expect(readPolicy(policyText(policy))).toEqual({ policy, wrong: {} });
  expect(readPolicy(policyText({}))).toEqual({ policy: {}, wrong: {} });
});

it('each bound holds, and what is beyond is named', () => {
  for (const { name, least, most } of NUMBERS) {
    const of = (value: string) => readPolicy({ ...policyText({}), [name]: value });
    expect(of(String(least)).policy[name]).toBe(least);
    expect(of(String(most)).policy[name]).toBe(most);
    for (const value of [String(least - 1), String(most + 1), '-1', '1.5', '1e1', 'many']) {
      expect(of(value).wrong[name]).toContain(String(most));
    }
  }
  expect(SWITCHES.length + NUMBERS.length).toBe(Object.keys(policyText({})).length);
});

it('nothing written is nothing wanted', () => {
  expect(readWhole('  ', 1, 5)).toBeNull();
  expect(readWhole(' 3 ', 1, 5)).toBe(3);
});
