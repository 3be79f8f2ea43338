import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';
import './lib/appearance.svelte';

const target = document.getElementById('app');
if (!target) throw new Error('the page has no #app');
mount(App, { target });
