/** Lets an element blink as its lamp does. */
import type { Attachment } from 'svelte/attachments';
import { blinks } from './colour-names';
import type { LightState } from './types';

/** Shortest period drawn: more than three flashes a second can harm (WCAG 2.3.1). The words tell the true times. */
const PERIOD_MIN_MS = 400;

/** How visible the light is while the lamp is off. */
const OFF_OPACITY = 0.06;

/** Blinks with the lamp's times, in step with all others of the same times. */
export function blink(state: LightState | null, still: boolean): Attachment<HTMLElement> {
  return (element) => {
    if (!state || still || !blinks(state)) return;
    const period = (state.on_time + state.off_time) * 100;
    const lit = state.on_time / (state.on_time + state.off_time);
    const animation = element.animate(
      [
        { opacity: 1, offset: 0 },
        { opacity: 1, offset: lit },
        { opacity: OFF_OPACITY, offset: lit },
        { opacity: OFF_OPACITY, offset: 1 },
      ],
      { duration: Math.max(period, PERIOD_MIN_MS), iterations: Infinity },
    );
    animation.startTime = 0;
    return () => animation.cancel();
  };
}
