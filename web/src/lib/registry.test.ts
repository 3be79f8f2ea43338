import { describe, expect, it } from 'vitest';
import { Registry } from './registry.svelte';

function registry(...names: string[]): Registry<{ name: string }> {
  const made = new Registry<{ name: string }>();
  names.forEach((name, index) => made.set(`key-${index}`, { name }));
  return made;
}

const names = (of: Registry<{ name: string }>) => of.sorted().map(({ name }) => name);

describe('Registry', () => {
  it('sorts by name, numbers as numbers', () => {
    expect(names(registry('Desk 10', 'desk 2', 'Arch'))).toEqual(['Arch', 'desk 2', 'Desk 10']);
  });

  it('puts a renamed thing in its new place', () => {
    const things = registry('A', 'B');
    things.set('key-0', { name: 'C' });
    expect(names(things)).toEqual(['B', 'C']);
    expect(things.get('key-0')).toEqual({ name: 'C' });
  });

  it('forgets what is deleted, and what is not retained', () => {
    const things = registry('A', 'B', 'C');
    things.delete('key-1');
    expect([names(things), things.has('key-1'), things.size]).toEqual([['A', 'C'], false, 2]);
    things.retain(new Set(['key-2', 'key-9']));
    expect(names(things)).toEqual(['C']);
    things.clear();
    expect([names(things), things.size]).toEqual([[], 0]);
  });
});
