// The official MCP Inspector, driven from its command line.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { modernNode, modules } from "./node.mjs";
import { cleanEnv, tempFolder } from "./programs.mjs";

const home = tempFolder("inspector-home");

/** One run of the Inspector: its exit code, and what it printed as JSON. */
export function inspector(...args) {
  const script = join(modules, "@modelcontextprotocol/inspector/clients/launcher/build/index.js");
  return new Promise((resolve) => {
    const env = cleanEnv({ HOME: home, MCP_INSPECTOR_SECRETS: "memory" });
    execFile(modernNode(), [script, "--cli", "--format", "json", ...args], { env, timeout: 60_000 }, (error, stdout, stderr) => {
      let json;
      try {
        json = JSON.parse(stdout);
      } catch {
        json = undefined;
      }
      resolve({ code: error ? (error.code ?? -1) : 0, json: json?.result ?? json, stdout, stderr });
    }).stdin.end();
  });
}
