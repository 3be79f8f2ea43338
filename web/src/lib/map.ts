/**
 * A plain map: positions on a plane, with a graticule and a scale bar, and no picture of the ground.
 *
 * Equirectangular around the middle of what is shown: true to scale there, and for the extent of one network of gateways
 * good everywhere. Positions across the 180th meridian are kept together.
 */

/** A position, WGS 84 degrees. */
export interface Position {
  latitude: number;
  longitude: number;
}

/** A point on the drawing, in its units, y downwards. */
export interface Point {
  x: number;
  y: number;
}

/** A line of the graticule. */
export interface GridLine {
  /** Across the drawing's width or height, in its units. */
  at: number;
  /** "52.371° N". */
  label: string;
}

/** A map of some size. */
export interface MapView {
  /** Metres that one unit of the drawing stands for. */
  metresPerUnit: number;
  point(position: Position): Point;
  meridians: GridLine[];
  parallels: GridLine[];
  scale: { length: number; label: string };
}

/** Metres in a degree of latitude, on a sphere of 6371 km. */
const METRES_PER_DEGREE = 111_195;

/** The least that is shown across: closer together, gateways are one place. */
const EXTENT_MIN_M = 60;

/** Part of the drawing that stays free around what is shown, for names and axes. */
const MARGIN = 0.14;

/** Units between two lines of the graticule at the least, so that their labels have room. */
const MERIDIANS_APART = 90;
const PARALLELS_APART = 60;

/** A map that shows all of `positions`, of which there must be one, in `width` by `height`. */
export function mapOf(positions: readonly Position[], width: number, height: number): MapView {
  const reference = positions[0]?.longitude ?? 0;
  // Nearest to the first one, so that 179.9 and −179.9 are neighbours.
  const unwrapped = (longitude: number) => reference + wrapped(longitude - reference);
  const latitude = extent(positions.map((it) => it.latitude));
  const longitude = extent(positions.map((it) => unwrapped(it.longitude)));
  const squeeze = Math.max(0.05, Math.cos((latitude.middle * Math.PI) / 180));
  const metresAcross = Math.max(EXTENT_MIN_M, longitude.size * squeeze * METRES_PER_DEGREE);
  const metresDown = Math.max(EXTENT_MIN_M, latitude.size * METRES_PER_DEGREE);
  const free = 1 - 2 * MARGIN;
  const metresPerUnit = Math.max(metresAcross / (width * free), metresDown / (height * free));
  const x = (degrees: number) => width / 2 + ((degrees - longitude.middle) * squeeze * METRES_PER_DEGREE) / metresPerUnit;
  const y = (degrees: number) => height / 2 - ((degrees - latitude.middle) * METRES_PER_DEGREE) / metresPerUnit;
  const degreesPerUnit = metresPerUnit / METRES_PER_DEGREE;
  const stepAcross = niceStep((degreesPerUnit / squeeze) * MERIDIANS_APART);
  const stepDown = niceStep(degreesPerUnit * PARALLELS_APART);
  const across = (degreesPerUnit / squeeze) * (width / 2);
  const down = degreesPerUnit * (height / 2);
  return {
    metresPerUnit,
    point: (position) => ({ x: x(unwrapped(position.longitude)), y: y(position.latitude) }),
    meridians: multiples(longitude.middle - across, longitude.middle + across, stepAcross).map((degrees) => ({
      at: x(degrees),
      label: degreesWords(wrapped(degrees), stepAcross, 'E', 'W'),
    })),
    parallels: multiples(latitude.middle - down, latitude.middle + down, stepDown).map((degrees) => ({
      at: y(degrees),
      label: degreesWords(degrees, stepDown, 'N', 'S'),
    })),
    scale: scaleBar(metresPerUnit, width * 0.25),
  };
}

/** The longest round distance that fits in so many units. */
export function scaleBar(metresPerUnit: number, lengthMax: number): { length: number; label: string } {
  const most = metresPerUnit * lengthMax;
  const power = 10 ** Math.floor(Math.log10(most));
  const metres = [5, 2, 1].map((digit) => digit * power).find((it) => it <= most) ?? power;
  const label = metres >= 1000 ? `${metres / 1000} km` : `${Number(metres.toPrecision(1))} m`;
  return { length: metres / metresPerUnit, label };
}

/**
 * Which of the points can have their name beside them, of such a size, without covering another name or point, and within
 * `right`. A name begins `gap` from the middle of its point, which is as wide to each side. The first points come first.
 */
export function labelled(
  points: readonly Point[],
  widths: readonly number[],
  height: number,
  gap: number,
  right = Number.POSITIVE_INFINITY,
): boolean[] {
  const taken: { x1: number; y1: number; x2: number; y2: number }[] = points.map(({ x, y }) => ({
    x1: x - gap,
    y1: y - gap,
    x2: x + gap,
    y2: y + gap,
  }));
  return points.map(({ x, y }, index) => {
    const box = { x1: x + gap, y1: y - height / 2, x2: x + gap + (widths[index] ?? 0), y2: y + height / 2 };
    const isApart = (other: typeof box) => box.x2 < other.x1 || other.x2 < box.x1 || box.y2 < other.y1 || other.y2 < box.y1;
    const isFree = box.x2 <= right && taken.every((other, of) => of === index || isApart(other));
    if (isFree) taken.push(box);
    return isFree;
  });
}

/** 1, 2 or 5 times a power of ten, not below `least`. */
export function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5].map((digit) => digit * power).find((it) => it >= least) ?? 10 * power;
}

function extent(values: readonly number[]): { middle: number; size: number } {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return { middle: (least + most) / 2, size: most - least };
}

function multiples(from: number, to: number, step: number): number[] {
  const first = Math.ceil(from / step);
  const count = Math.floor(to / step) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, index) => (first + index) * step);
}

/** Between −180 and 180. */
function wrapped(degrees: number): number {
  return ((((degrees + 180) % 360) + 360) % 360) - 180;
}

function degreesWords(degrees: number, step: number, positive: string, negative: string): string {
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const rounded = Math.abs(degrees).toFixed(digits);
  const side = Number(rounded) === 0 ? '' : ` ${degrees < 0 ? negative : positive}`;
  return `${rounded}°${side}`;
}

/** Points moved so that none is closer to another than `least`; those that are far apart stay where they are. */
export function apart(points: readonly Point[], least: number): Point[] {
  const moved = points.map((point) => ({ ...point }));
  for (let round = 0; round < ROUNDS; round += 1) {
    let settled = true;
    for (const [index, a] of moved.entries()) {
      for (const [other, b] of moved.entries()) {
        if (other <= index) continue;
        const [dx, dy] = [b.x - a.x, b.y - a.y];
        const distance = Math.hypot(dx, dy);
        if (distance >= least - 0.01) continue;
        settled = false;
        // On the very same spot any direction will do; a different one for each keeps a roof's gateways round it.
        const angle = distance > 0.01 ? Math.atan2(dy, dx) : other * GOLDEN_ANGLE;
        // A little more than needed, so that a crowd comes to rest.
        const push = (least - distance) / 2 + SLACK;
        a.x -= Math.cos(angle) * push;
        a.y -= Math.sin(angle) * push;
        b.x += Math.cos(angle) * push;
        b.y += Math.sin(angle) * push;
      }
    }
    if (settled) break;
  }
  return moved;
}

/** Each round settles what the one before pushed together. */
const ROUNDS = 150;

const SLACK = 0.4;

const GOLDEN_ANGLE = Math.PI * (3 - Math.sqrt(5));
