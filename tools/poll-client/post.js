// Ways to POST. `post(url, text, timeoutMs)` gives `abort` and `answer`: a promise of `{ status, text, retryAfter }`.

// With `fetch`: browsers and Node. A body of plain text needs no preflight.
export function fetchPost(url, text, timeoutMs) {
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(), timeoutMs);
  const answer = (async () => {
    try {
      const options = { method: 'POST', body: text, headers: { 'Content-Type': 'text/plain' }, signal: control.signal };
      const response = await fetch(url, options);
      return { status: response.status, text: await response.text(), retryAfter: response.headers.get('Retry-After') };
    } finally {
      clearTimeout(timer);
    }
  })();
  return { answer, abort: () => control.abort() };
}

// With `wx.request`, or what has its shape: `new PollClient(url, { post: wxPost(wx) })`.
export function wxPost(wx) {
  return (url, text, timeoutMs) => {
    let task;
    const answer = new Promise((resolve, reject) => {
      task = wx.request({
        url,
        method: 'POST',
        data: text,
        header: { 'Content-Type': 'text/plain' },
        dataType: 'text',
        timeout: timeoutMs,
        success: ({ statusCode, data, header = {} }) => {
          const name = Object.keys(header).find((key) => key.toLowerCase() === 'retry-after');
          resolve({ status: statusCode, text: typeof data === 'string' ? data : JSON.stringify(data), retryAfter: header[name] });
        },
        fail: ({ errMsg }) => reject(new Error(errMsg)),
      });
    });
    return { answer, abort: () => task?.abort?.() };
  };
}
