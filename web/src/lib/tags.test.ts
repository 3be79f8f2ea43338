import { expect, it } from 'vitest';
import { readTags, tagsText } from './tags';

it('tags read as they are written', () => {
  const text = 'floor=2, room=2.14, lobby, formula=a=b';
  expect(readTags(text)).toEqual({ tags: { floor: '2', room: '2.14', lobby: '', formula: 'a=b' }, wrong: null });
  expect(tagsText(readTags(text).tags)).toBe(text);
  expect(readTags('  ,\n')).toEqual({ tags: {}, wrong: null });
});

it('what cannot be a tag is named', () => {
  expect(readTags('=2').wrong).toContain('no name');
  expect(readTags('a=1, a=2').wrong).toContain('twice');
});
