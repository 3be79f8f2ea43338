/** Tags as a person writes them: `floor=2, room=2.14`; a tag without a value is `lobby`. */

/** The tags that a text says; `wrong` is what is wrong with it. */
export function readTags(text: string): { tags: Record<string, string>; wrong: string | null } {
  const tags: Record<string, string> = {};
  for (const part of text.split(/[,\n]/)) {
    if (part.trim() === '') continue;
    const [name = '', ...value] = part.split('=');
    const key = name.trim();
    if (key === '') return { tags, wrong: `“${part.trim()}” has no name before the =` };
    if (Object.hasOwn(tags, key)) return { tags, wrong: `${key} is there twice` };
    tags[key] = value.join('=').trim();
  }
  return { tags, wrong: null };
}

/** The same back: `floor=2, lobby`. */
export function tagsText(tags: Readonly<Record<string, string>>): string {
  return Object.entries(tags)
    .map(([name, value]) => (value === '' ? name : `${name}=${value}`))
    .join(', ');
}
