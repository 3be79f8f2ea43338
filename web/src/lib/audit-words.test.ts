import { describe, expect, it } from 'vitest';
import { actionWords, changes, commandedDevice, objectName, objectPath, originWords, pathWords } from './audit-words';

describe('whom an entry’s command is for', () => {
  it('is told by commands alone, and by those that know it', () => {
    const entry = { action: 'downlink.send', before: null, after: { dev_eui: '0011' } };
    expect(commandedDevice(entry)).toBe('0011');
    expect(commandedDevice({ ...entry, after: null })).toBeNull();
    expect(commandedDevice({ ...entry, action: 'device.desire' })).toBeNull();
  });
});

describe('what an entry changed', () => {
  it('is told field by field, without what stayed', () => {
    const before = { name: 'Desk 1', version: 1, tags: { floor: '1', old: 'x' }, policy: {} };
    const after = { name: 'Desk 1', version: 2, tags: { floor: '2' }, policy: { attempts: 6 } };
    expect(changes(before, after)).toEqual([
      { field: 'tags.floor', before: '1', after: '2' },
      { field: 'tags.old', before: 'x', after: null },
      { field: 'policy.attempts', before: null, after: '6' },
    ]);
  });

  it('is all there is of a new object, and nothing of none', () => {
    expect(changes(null, { name: 'Desk 1', join_eui: null })).toEqual([{ field: 'name', before: null, after: 'Desk 1' }]);
    expect(changes(null, null)).toEqual([]);
    expect(changes('a', 'b')).toEqual([{ field: 'value', before: 'a', after: 'b' }]);
    expect(changes({ list: [1, 2] }, { list: [1, 3] })).toEqual([{ field: 'list', before: '1, 2', after: '1, 3' }]);
    expect(changes({ list: [{ a: 1 }] }, { list: [{ a: 2 }] })).toEqual([{ field: 'list.0.a', before: '1', after: '2' }]);
  });

  it('tells a colour as one', () => {
    const order = { command: { set_light: { color: { red: 255, green: 0, blue: 0 }, on_time: 255 } } };
    expect(changes(null, { order })).toEqual([
      { field: 'order.command.set_light.color', before: null, after: 'red, #ff0000' },
      { field: 'order.command.set_light.on_time', before: null, after: '255' },
    ]);
  });

  it('false and 0 are not nothing', () => {
    expect(changes({ reconcile: true, off_time: 5 }, { reconcile: false, off_time: 0 })).toHaveLength(2);
  });
});

it('an action that is not known is told as it came', () => {
  expect(actionWords('device.update')).toBe('changed the device');
  expect(actionWords('light_show.start')).toBe('light show: start');
});

it('what an entry is about has a name, and a page if there is one', () => {
  const id = '01a2067e-9370-7136-ac94-54f67cb4571f';
  expect(objectName({ object_id: id, before: { name: 'Desk 1' }, after: null })).toBe('Desk 1');
  expect(objectName({ object_id: id, before: null, after: { name: '' } })).toBe(id);
  expect(objectPath('device.update', id)).toBe(`/devices/${id}`);
  expect(objectPath('device.update', '70b3d5e75e000000')).toBeNull();
  expect(objectPath('device.delete', id)).toBeNull();
  expect(objectPath('job.pause', id)).toBe(`/jobs/${id}`);
});

it('a path reads without what only holds it', () => {
  expect(['order.command.set_light.color', 'tags.floor', 'chirpstack_app_id', 'policy.attempts', 'order'].map(pathWords)).toEqual([
    'Color', 'Tag floor', 'Chirpstack app id', 'Policy, attempts', 'order',
  ]);
});

it('an origin is an address, or who else it may have been', () => {
  expect(originWords({ name: 'ops', address: '10.0.0.7' })).toBe('from 10.0.0.7');
  expect(originWords({ name: 'downbeat', address: null })).toBe('by itself');
});
