import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { loadEnv } from 'vite';
import { defineConfig } from 'vitest/config';

/**
 * Holds the first paint until the script has run: it sets the chosen theme, and the page is empty before it.
 * Otherwise a dark page would flash white.
 */
const paintAfterTheme: Plugin = {
  name: 'paint-after-theme',
  transformIndexHtml: {
    order: 'post',
    handler: (html) => html.replace('<script type="module"', '<script type="module" blocking="render"'),
  },
};

/** The service that the page is worked on with; `downbeat demo` listens here. */
const service = loadEnv('', '.', 'DOWNBEAT_')['DOWNBEAT_URL'] ?? 'http://127.0.0.1:8000';

export default defineConfig({
  plugins: [svelte(), paintAfterTheme],
  build: {
    target: 'es2022',
    // The content security policy allows no data: scripts or styles, only images.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/api': service } },
  test: { include: ['src/**/*.test.ts'], environment: 'node' },
});
