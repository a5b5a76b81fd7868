// Hints: what the daemon's codes mean to somebody who tries it out.
//
// In:  the code of an error or of an end.
// Out: a sentence on what to do, where there is something to do.

const hints = {
  101: 'Without a token only those may connect whom client.allow_anonymous_connect_without_token lets in.',
  102: 'What stands before the colon must be a namespace of the configuration (channel.namespaces).',
  103: 'The namespace must permit it: allow_subscribe_for_client, allow_publish_for_client, and for those without a token '
    + 'the same options ending in _for_anonymous.',
  109: 'The token has expired.',
  3500: 'The token is not one of this daemon: its key or its claims are wrong.',
  3501: 'Without a token only those may connect whom client.allow_anonymous_connect_without_token lets in.',
};

// What was said and what to do about it, in one paragraph.
export function explain(code, words) {
  const said = `${words || 'no reason given'} (${code})`;
  return hints[code] ? `${said}. ${hints[code]}` : `${said}.`;
}
