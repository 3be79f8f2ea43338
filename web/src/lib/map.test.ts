import { describe, expect, it } from 'vitest';
import { apart, labelled, mapOf, niceStep, scaleBar } from './map';

const at = (latitude: number, longitude: number) => ({ latitude, longitude });

describe('a map', () => {
  it('keeps every position inside, north up and east right', () => {
    const places = [at(52.37, 4.89), at(52.38, 4.95), at(52.33, 4.85)];
    const map = mapOf(places, 600, 400);
    const points = places.map(map.point);
    for (const { x, y } of points) {
      expect(x).toBeGreaterThan(0);
      expect(x).toBeLessThan(600);
      expect(y).toBeGreaterThan(0);
      expect(y).toBeLessThan(400);
    }
    expect(points[1]?.y).toBeLessThan(points[0]?.y ?? 0);
    expect(points[1]?.x).toBeGreaterThan(points[0]?.x ?? 0);
  });

  it('is true to scale', () => {
    const map = mapOf([at(52, 5), at(52.1, 5)], 600, 400);
    const [south, north] = [map.point(at(52, 5)), map.point(at(52.1, 5))];
    expect((south.y - north.y) * map.metresPerUnit).toBeCloseTo(11_119.5, 0);
    const east = map.point(at(52.05, 5.1));
    expect((east.x - south.x) * map.metresPerUnit).toBeCloseTo(11_119.5 * Math.cos((52.05 * Math.PI) / 180), 0);
  });

  it('shows one gateway in the middle, with lines around it', () => {
    const map = mapOf([at(-33.86, 151.2)], 600, 400);
    expect(map.point(at(-33.86, 151.2))).toEqual({ x: 300, y: 200 });
    expect(map.meridians.length).toBeGreaterThan(1);
    expect(map.parallels.every(({ label }) => label.endsWith('° S'))).toBe(true);
    expect(map.meridians.every(({ at: x }) => x >= 0 && x <= 600)).toBe(true);
  });

  it('keeps neighbours together across the 180th meridian', () => {
    const map = mapOf([at(-17, 179.9), at(-17, -179.9)], 600, 400);
    expect(map.point(at(-17, -179.9)).x - map.point(at(-17, 179.9)).x).toBeGreaterThan(100);
    expect(map.metresPerUnit).toBeLessThan(100);
    expect(map.meridians.some(({ label }) => label.endsWith('W'))).toBe(true);
    expect(map.meridians.some(({ label }) => label.endsWith('E'))).toBe(true);
  });
});

describe('the scale bar', () => {
  it.each([
    [1, 150, 100, '100 m'],
    [0.31, 100, 20 / 0.31, '20 m'],
    [30, 100, 2000 / 30, '2 km'],
  ])('at %d m a unit, of %d units at the most, is %d units for %s', (metresPerUnit, most, length, label) => {
    const bar = scaleBar(metresPerUnit, most);
    expect(bar.length).toBeCloseTo(length);
    expect(bar.label).toBe(label);
  });
});

it('steps are 1, 2 or 5 times a power of ten', () => {
  expect([0.0034, 0.06, 0.2, 9].map((least) => Number(niceStep(least).toPrecision(3)))).toEqual([0.005, 0.1, 0.2, 10]);
});

it('names do not cover each other', () => {
  const points = [{ x: 0, y: 0 }, { x: 45, y: 2 }, { x: 0, y: 60 }, { x: 30, y: 62 }];
  expect(labelled(points, [30, 50, 15, 50], 14, 6)).toEqual([true, true, true, true]);
  // The name of the first would cover the second point, and two names would end beyond the drawing.
  expect(labelled(points, [36, 50, 15, 50], 14, 6, 80)).toEqual([false, false, true, false]);
});

it('points on one spot move apart, others stay', () => {
  const spot = { x: 100, y: 100 };
  const moved = apart([spot, spot, spot, { x: 400, y: 100 }], 20);
  for (const [index, a] of moved.entries()) {
    for (const b of moved.slice(index + 1)) expect(Math.hypot(a.x - b.x, a.y - b.y)).toBeGreaterThan(19);
  }
  expect(moved[3]).toEqual({ x: 400, y: 100 });
  for (const point of moved.slice(0, 3)) expect(Math.hypot(point.x - 100, point.y - 100)).toBeLessThan(40);
});
