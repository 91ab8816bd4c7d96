// What must never be found again: every token, code, secret, password and cookie that a test saw.

import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const known = new Map();

/** Notes a secret, and gives it back. */
export function remember(kind, value) {
  if (typeof value === "string" && value.length >= 12) {
    known.set(value, kind);
    // A JWT's signature is what makes it a token: a log line with the end of it is a leak too.
    const parts = value.split(".");
    if (parts.length === 3 && parts[2].length >= 12) known.set(parts[2], `${kind} signature`);
  }
  return value;
}

/** Fails when a text holds one of the secrets, in clear or percent-encoded. */
export function assertClean(where, text) {
  for (const [secret, kind] of known) {
    for (const form of [secret, encodeURIComponent(secret), Buffer.from(secret).toString("base64")]) {
      const at = text.indexOf(form);
      // The neighbourhood, never the secret.
      assert.ok(at < 0, `C15: a ${kind} stands in ${where}, after ${JSON.stringify(text.slice(Math.max(0, at - 120), at))}`);
    }
  }
}

/** Fails when a file below `folder` holds one of the secrets. */
export function assertFolderClean(folder) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const about = statSync(path);
    if (about.isDirectory()) assertFolderClean(path);
    else if (about.isFile()) assertClean(path, readFileSync(path, "latin1"));
  }
}

export const seen = () => known.size;
