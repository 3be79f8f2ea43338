/** What a browser calls itself, in words: "Firefox on Linux". Only for people to recognise their own by. */

const BROWSERS: readonly [token: string, name: string][] = [
  ['Edg/', 'Edge'],
  ['OPR/', 'Opera'],
  ['Firefox/', 'Firefox'],
  ['FxiOS/', 'Firefox'],
  ['CriOS/', 'Chrome'],
  ['Chrome/', 'Chrome'],
  ['Safari/', 'Safari'],
];

const SYSTEMS: readonly [token: string, name: string][] = [
  ['Android', 'Android'],
  ['iPhone', 'iPhone'],
  ['iPad', 'iPad'],
  ['Windows', 'Windows'],
  ['Mac OS X', 'macOS'],
  ['CrOS', 'ChromeOS'],
  ['Linux', 'Linux'],
];

/** The browser and its system, as far as they can be told; else the first word of what it says. */
export function agentWords(agent: string | null): string {
  if (!agent) return 'a browser';
  const of = (names: readonly [string, string][]) => names.find(([token]) => agent.includes(token))?.[1];
  const browser = of(BROWSERS);
  const system = of(SYSTEMS);
  if (!browser) return agent.split(/[\s/]/)[0] || 'a browser';
  return system ? `${browser} on ${system}` : browser;
}
