// The official MCP Inspector, driven from its command line.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { modernNode, modules } from "./node.mjs";
import { cleanEnv, tempFolder } from "./programs.mjs";

const home = tempFolder("inspector-home");

/** One run of the Inspector: its exit code, and what it printed as JSON. */
export const inspector = (...args) => inspecting({}, ...args).done;

/** A run that goes on, with `more` in its environment: what it has shown its person so far, and how it ends. */
export function inspecting(more, ...args) {
  const script = join(modules, "@modelcontextprotocol/inspector/clients/launcher/build/index.js");
  let shown = "";
  const done = new Promise((resolve) => {
    const env = cleanEnv({ HOME: home, MCP_INSPECTOR_SECRETS: "memory", ...more });
    const child = execFile(modernNode(), [script, "--cli", "--format", "json", ...args], { env, timeout: 60_000 }, (error, stdout, stderr) => {
      let json;
      try {
        json = JSON.parse(stdout);
      } catch {
        json = undefined;
      }
      resolve({ code: error ? (error.code ?? -1) : 0, json: json?.result ?? json, stdout, stderr });
    });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (part) => (shown += part));
    child.stdin.end();
  });
  return { done, shown: () => shown };
}
