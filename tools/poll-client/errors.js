// Errors: what goes wrong, with codes; and which codes are final.

// Codes of errors that do not come from the server.
export const TIMEOUT = 1;
export const REQUEST_FAILED = 2;
export const DISCONNECTED = 3;
export const UNSUBSCRIBED = 7;
export const SESSION_LOST = 11;
// An error of the server that a new token mends.
export const TOKEN_EXPIRED = 109;

export class PollError extends Error {
  constructor(code, message, temporary = false) {
    super(message);
    this.name = 'PollError';
    this.code = code;
    this.temporary = temporary;
  }
}

export function asError(error) {
  if (error instanceof PollError) return error;
  return new PollError(error.code ?? 0, error.message ?? String(error), error.temporary ?? error.code === undefined);
}

// Centrifuge's ranges of codes after which a client stays away.
export const isFinal = (code) => (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
