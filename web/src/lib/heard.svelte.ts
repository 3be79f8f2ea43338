/** Loading anew when a device was heard. */
import { fleet } from './store.svelte';

/** What an uplink brings is stored a moment after it is told of, and uplinks may come in bursts. */
const SETTLE_MS = 2_000;

/** Calls after each uplink of the device, once for several; to be called while a component is made. */
export function whenHeard(devEui: () => string | null, reload: () => Promise<void>): void {
  $effect(() => {
    const own = devEui();
    let soon: ReturnType<typeof setTimeout> | undefined;
    const stop = fleet.listen((event) => {
      if (event.type !== 'reset' && (event.type !== 'device' || event.data.lorawan_dev_eui !== own)) return;
      soon ??= setTimeout(() => {
        soon = undefined;
        void reload();
      }, SETTLE_MS);
    });
    return () => {
      clearTimeout(soon);
      stop();
    };
  });
}
