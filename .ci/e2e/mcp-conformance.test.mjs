// The MCP conformance suite in its `server` mode against /mcp: one scenario at a time, since a whole run hides those that
// check nothing. Against our own tools everything that needs no tools of the suite's.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { withBearer } from "./lib/bearer.mjs";
import { login, person, register } from "./lib/flow.mjs";
import { modernNode, modules } from "./lib/node.mjs";
import { cleanEnv, tempFolder } from "./lib/programs.mjs";
import { service } from "./lib/service.mjs";

const SUITE = join(modules, "@modelcontextprotocol/conformance/dist/index.js");
/** What needs no tools, prompts or resources of the suite's own. */
const OURS = [
  "server-initialize", "server-session-lifecycle", "ping", "tools-list", "server-sse-multiple-streams", "dns-rebinding-protection",
  "http-header-validation",
];

const s = await service({ args: ["--mcp"] });
after(() => s.end());
const browser = await person(s);
const client = await register(s);
const { access_token } = await login(s, browser, client, { resource: s.at("/mcp"), scope: "mcp:tools" });
const front = await withBearer(s.at("/mcp"), access_token);
after(() => front.end());

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

const listed = await conformance(["list", "--server"]);
const offered = [...listed.said.matchAll(/^\s+- (\S+) \[([^\]]*)\]/gm)].map(([, name, versions]) => ({ name, versions: versions.split(",") }));
assert.ok(offered.length > 30, listed.said);

for (const name of OURS) {
  const versions = offered.find((one) => one.name === name)?.versions;
  assert.ok(versions, `the suite has ${name}`);
  test(`${name}: ${versions.join(", ")}`, async () => {
    for (const version of versions) {
      const run = await conformance(["server", "--url", front.url, "--scenario", name, "--spec-version", version]);
      assert.equal(run.code, 0, `${version}: ${run.said}`);
      const bad = run.checks.filter(({ status }) => !["SUCCESS", "INFO"].includes(status));
      assert.deepEqual(bad, [], version);
      assert.ok(run.checks.some(({ status }) => status === "SUCCESS"), `${version}: it checked something: ${run.said}`);
    }
  });
}
test("the suite would notice: without a token nothing succeeds", async () => {
  const run = await conformance(["server", "--url", s.at("/mcp"), "--scenario", "ping", "--spec-version", "2025-11-25"]);
  assert.notEqual(run.code, 0, run.said);
});
test("the service lives, and has written down no secret", () => s.assertWell());
