// Puts the built library where the tests' functions find it.
import * as sotto from '../../dist/index.js';

globalThis.sotto = sotto;
