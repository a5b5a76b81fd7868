// Find: the browser for these tests. Run by itself it fails where there is none.
//
// In:  PATH.
// Out: the path of a browser.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

// Any of them will do.
const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

export function findBrowser() {
  for (const folder of process.env.PATH.split(delimiter)) {
    for (const path of NAMES.map((name) => join(folder, name))) {
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        // Perhaps the next.
      }
    }
  }
  throw new Error('no Chromium is found: run tools/setup-sdk');
}

findBrowser();
