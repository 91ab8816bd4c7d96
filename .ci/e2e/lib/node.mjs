// The Node that other people's programs need, when ours is older.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const modules = fileURLToPath(new URL("../node_modules/", import.meta.url));

/** A Node of at least 22.19: ours, or the one from npm. */
export function modernNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 19)) return process.execPath;
  const found = ["x64", "arm64"].map((cpu) => join(modules, `node-linux-${cpu}/bin/node`)).find(existsSync);
  assert.ok(found, "a Node of at least 22.19: run npm ci in .ci/e2e");
  return found;
}
