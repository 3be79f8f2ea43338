/**
 * Names for colours, and how a lamp's numbers look on a screen.
 *
 * Colour must never be the only sign, so each light carries its colour's name. The name goes by hue, as people see it.
 */
import type { LightState, Rgb } from './types';

/** A colour to pick with one click. */
export interface Preset {
  name: string;
  rgb: Rgb;
}

/** The colours that status lights are asked for most. */
export const PRESETS: readonly Preset[] = [
  { name: 'red', rgb: { red: 255, green: 0, blue: 0 } },
  { name: 'green', rgb: { red: 0, green: 255, blue: 0 } },
  { name: 'blue', rgb: { red: 0, green: 0, blue: 255 } },
  { name: 'orange', rgb: { red: 255, green: 165, blue: 0 } },
  { name: 'yellow', rgb: { red: 255, green: 255, blue: 0 } },
  { name: 'purple', rgb: { red: 160, green: 0, blue: 255 } },
  { name: 'white', rgb: { red: 255, green: 255, blue: 255 } },
  { name: 'off', rgb: { red: 0, green: 0, blue: 0 } },
];

/** Upper end of each hue in degrees; what lies above the last is red again. */
const HUES: readonly (readonly [number, string])[] = [
  [14, 'red'],
  [48, 'orange'],
  [70, 'yellow'],
  [160, 'green'],
  [200, 'turquoise'],
  [255, 'blue'],
  [310, 'purple'],
  [345, 'pink'],
];

/** Below this share of full brightness a colour is called dim. */
const DIM_BELOW = 0.4;

/** Below this saturation a colour is called white: a lamp cannot show grey. */
const WHITE_BELOW = 0.2;

/** The name of a colour: "red", "dim green", "off". */
export function colourName(rgb: Rgb): string {
  const max = Math.max(rgb.red, rgb.green, rgb.blue);
  if (max === 0) return 'off';
  const min = Math.min(rgb.red, rgb.green, rgb.blue);
  const dim = max / 255 < DIM_BELOW ? 'dim ' : '';
  if ((max - min) / max < WHITE_BELOW) return `${dim}white`;
  const hue = hueDegrees(rgb, max, max - min);
  const name = HUES.find(([end]) => hue < end)?.[1] ?? 'red';
  return dim + name;
}

/** Whether the light is dark, whatever its times. */
export function isOff(rgb: Rgb): boolean {
  return rgb.red === 0 && rgb.green === 0 && rgb.blue === 0;
}

/** Whether the light goes on and off in turn. */
export function blinks(state: LightState): boolean {
  return !isOff(state) && state.off_time > 0 && state.on_time > 0;
}

/** What a light shows, in words: "red", "blue, blinks 0.5/0.5 s". */
export function lightWords(state: LightState): string {
  const name = colourName(state);
  if (!blinks(state)) return name;
  return `${name}, blinks ${seconds(state.on_time)}/${seconds(state.off_time)} s`;
}

/** Whether two states are the same one: all five numbers, as the light itself compares them. */
export function sameLight(a: LightState, b: LightState): boolean {
  return (
    a.red === b.red &&
    a.green === b.green &&
    a.blue === b.blue &&
    a.on_time === b.on_time &&
    a.off_time === b.off_time
  );
}

/**
 * How a lamp's colour looks on a screen: its hue at full strength, and how strongly it glows, 0 to 1.
 *
 * A lamp at 50 of 255 is plainly lit, while the same numbers on a screen are almost black.
 */
export function glow(rgb: Rgb): { css: string; strength: number } {
  const max = Math.max(rgb.red, rgb.green, rgb.blue);
  if (max === 0) return { css: 'rgb(70 78 92)', strength: 0 };
  const part = (value: number) => Math.round((value / max) * 255);
  return {
    css: `rgb(${part(rgb.red)} ${part(rgb.green)} ${part(rgb.blue)})`,
    strength: Math.pow(max / 255, 0.45),
  };
}

/** `#rrggbb`, as colour inputs speak. */
export function toHex(rgb: Rgb): string {
  return '#' + [rgb.red, rgb.green, rgb.blue].map((part) => part.toString(16).padStart(2, '0')).join('');
}

/** Reads `#rrggbb`; null if it is something else. */
export function fromHex(text: string): Rgb | null {
  const digits = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(text);
  if (!digits) return null;
  const part = (index: number) => parseInt(digits[index] ?? '0', 16);
  return { red: part(1), green: part(2), blue: part(3) };
}

function seconds(tenths: number): string {
  return (tenths / 10).toFixed(1);
}

function hueDegrees(rgb: Rgb, max: number, span: number): number {
  const { red, green, blue } = rgb;
  if (max === red) return (60 * ((green - blue) / span) + 360) % 360;
  if (max === green) return 60 * ((blue - red) / span) + 120;
  return 60 * ((red - green) / span) + 240;
}
