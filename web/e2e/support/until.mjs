/** How long anything may take before it counts as never. Generous: the machine may be busy. */
export const PATIENCE_MS = Number(process.env.DOWNBEAT_E2E_PATIENCE_MS ?? 60_000);

/** Waits for what only asking tells; what the page shows is waited for by its locators. */
export async function until(what, holds) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await holds();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`gave up waiting until ${what}`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
}
