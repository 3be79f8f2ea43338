/** Goes over to another tenant, and away from a page of something that is not that tenant's. */
import { go, route } from './router.svelte';
import { section } from './routes';
import { fleet } from './store.svelte';

/** For the platform's administrators. */
export function switchTenant(tenant: { id: string; name: string }): void {
  if (route.id !== null) go(`/${section(route.page)}`);
  fleet.lookAt(tenant);
}
