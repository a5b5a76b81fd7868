// Time: when to try again, and when a token has to be renewed.

import { asError } from './errors.js';

// Full jitter, so that many clients who lost the same server do not come back together.
export const backoffMs = (step, { backoffMinMs: min, backoffMaxMs: max }) => (
  Math.min(max, min + Math.random() * Math.min(max, min * 2 ** Math.min(step, 31)))
);

// Timers hold 31 bits of milliseconds; a token that lives longer than that is renewed early.
export function later(seconds, work, failed) {
  return setTimeout(() => work().catch((error) => failed(asError(error))), Math.min(Math.max(seconds, 1), 2_000_000) * 1000);
}
