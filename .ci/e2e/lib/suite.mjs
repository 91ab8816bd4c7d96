// The MCP conformance suite in its `server` mode, one scenario and one version at a time: a whole run hides those that check
// nothing. What it offers is asked of the suite itself.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { modernNode, modules } from "./node.mjs";
import { cleanEnv, tempFolder } from "./programs.mjs";

const SUITE = join(modules, "@modelcontextprotocol/conformance/dist/index.js");

/** One run of the suite: its exit code, its words, and the checks that it wrote down. */
function conformance(args) {
  const folder = tempFolder("conformance");
  const env = cleanEnv({ NO_COLOR: "1" });
  const child = spawn(modernNode(), [SUITE, ...args, ...(args[0] === "server" ? ["--output-dir", folder] : [])], { env, timeout: 60_000, killSignal: "SIGKILL", stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (said += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      const files = readdirSync(folder, { recursive: true }).filter((path) => path.endsWith("checks.json"));
      resolve({ code, said, checks: files.flatMap((path) => JSON.parse(readFileSync(join(folder, path), "utf8"))) });
    });
  });
}

/** The suite's scenarios for servers: each with the versions that it is for; `extension` is the suite's word for none. */
export async function scenarios() {
  const { said } = await conformance(["list", "--server"]);
  const found = [...said.matchAll(/^\s+- (\S+) \[([^\]]*)\]/gm)].map(([, name, versions]) => ({ name, versions: versions.split(",") }));
  assert.ok(found.length > 30, said);
  return found;
}

/** One scenario against the server at a URL. */
export const scenario = (url, name, version) =>
  conformance(["server", "--url", url, "--scenario", name, ...(version === "extension" ? [] : ["--spec-version", version])]);

/** It found something good and nothing bad; a warning is bad, and so is a check that was left out. */
export async function assertConforms(url, name, version) {
  const run = await scenario(url, name, version);
  const bad = run.checks.filter(({ status }) => !["SUCCESS", "INFO"].includes(status));
  assert.deepEqual(bad, [], `${version}: ${run.said}`);
  assert.equal(run.code, 0, `${version}: ${run.said}`);
  assert.ok(run.checks.some(({ status }) => status === "SUCCESS"), `${version}: it checked something: ${run.said}`);
  return run.checks;
}
