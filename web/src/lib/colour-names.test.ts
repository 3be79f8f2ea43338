import { describe, expect, it } from 'vitest';
import { blinks, colourName, fromHex, glow, lightWords, PRESETS, sameLight, toHex } from './colour-names';

const rgb = (red: number, green: number, blue: number) => ({ red, green, blue });

describe('colourName', () => {
  it('calls every preset by its own name', () => {
    for (const preset of PRESETS) expect(colourName(preset.rgb)).toBe(preset.name);
  });

  it('calls the colour after a join dim green', () => {
    expect(colourName(rgb(0, 50, 0))).toBe('dim green');
  });

  it('names what lies between the presets', () => {
    expect(colourName(rgb(0, 255, 255))).toBe('turquoise');
    expect(colourName(rgb(255, 0, 150))).toBe('pink');
    expect(colourName(rgb(255, 0, 10))).toBe('red');
    expect(colourName(rgb(60, 60, 60))).toBe('dim white');
  });
});

describe('lightWords', () => {
  it('tells a blink with both times', () => {
    expect(lightWords({ ...rgb(0, 0, 255), on_time: 5, off_time: 10 })).toBe('blue, blinks 0.5/1.0 s');
  });

  it('calls a light steady when it is never off, and dark when it has no colour', () => {
    expect(lightWords({ ...rgb(255, 0, 0), on_time: 100, off_time: 0 })).toBe('red');
    expect(lightWords({ ...rgb(0, 0, 0), on_time: 5, off_time: 5 })).toBe('off');
    expect(blinks({ ...rgb(255, 0, 0), on_time: 0, off_time: 0 })).toBe(false);
  });
});

it('compares lights by all five numbers', () => {
  const steady = { ...rgb(255, 0, 0), on_time: 255, off_time: 0 };
  expect(sameLight(steady, { ...steady })).toBe(true);
  expect(sameLight(steady, { ...steady, on_time: 5, off_time: 5 })).toBe(false);
});

it('lets a dim lamp glow in its own hue', () => {
  expect(glow(rgb(0, 50, 0)).css).toBe('rgb(0 255 0)');
  expect(glow(rgb(0, 50, 0)).strength).toBeGreaterThan(0.3);
  expect(glow(rgb(0, 0, 0)).strength).toBe(0);
});

it('reads and writes #rrggbb', () => {
  expect(toHex(rgb(255, 165, 0))).toBe('#ffa500');
  expect(fromHex('#FFa500')).toEqual(rgb(255, 165, 0));
  expect(fromHex('orange')).toBeNull();
});
