// A key in a host's file, as people have it: `import` moves it into the vault, the official SDK starts what `import` wrote, a person
// signs in at the real service, the published server gets its key, and loses it with the grant.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import * as v2 from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { ALLOW, person } from "./lib/flow.mjs";
import { cleanEnv, runToEnd, tempFolder } from "./lib/programs.mjs";
import { service } from "./lib/service.mjs";
import { until } from "./lib/wait.mjs";
import { published } from "./lib/wrapped.mjs";

const s = await service();
after(() => s.end());
const browser = await person(s);
// Another run beside this one has another.
const SECRET = `ghp_${randomBytes(18).toString("hex")}`;

const home = tempFolder("home");
const file = join(home, ".cursor/mcp.json");
mkdirSync(join(home, ".cursor"));
const [command, ...args] = published("server-everything");
// With a comment and a trailing comma, as editors let people write it.
const before = `{
  "mcpServers": {
    "everything": {
      "command": ${JSON.stringify(command)},
      "args": ${JSON.stringify(args)}, // from npm
      "env": { "GITHUB_TOKEN": "${SECRET}", "LEVEL": "debug" },
    },
  },
}
`;
writeFileSync(file, before);
const run = (...words) => {
  const done = runToEnd("mcp-stdio-server", ["--data", s.data, ...words], { cwd: home, env: { HOME: home, XDG_CONFIG_HOME: undefined } });
  assert.ok(!`${done.stdout}${done.stderr}`.includes(SECRET), "nobody is told the secret");
  return done;
};

/** Every file below a folder. */
const below = (folder) => readdirSync(folder).flatMap((name) => (statSync(join(folder, name)).isDirectory() ? below(join(folder, name)) : [join(folder, name)]));

/** The processes that have the secret in their environment. */
const holders = () =>
  readdirSync("/proc").filter((pid) => /^\d+$/.test(pid)).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/environ`).includes(SECRET);
    } catch {
      return false;
    }
  });

/** A person opens the link of a refused call, and allows. */
async function approve(refused) {
  let page = await browser.open(refused.structuredContent.verification_uri_complete);
  page = await browser.submit(page, { press: /continue/i });
  page = await browser.submit(page, { press: ALLOW });
  assert.equal(page.status, 200, page.text.slice(0, 500));
}

const client = new v2.Client({ name: "host", version: "1" });
after(() => client.close());

test("a key leaves the host's file, is there while a grant lives, and comes back with undo", async () => {
  const imported = run("import", "--host", "cursor", "--yes");
  assert.equal(imported.code, 0, imported.stderr);
  const rewritten = readFileSync(file, "utf8");
  assert.ok(!rewritten.includes(SECRET) && rewritten.includes("// from npm") && rewritten.includes('"LEVEL": "debug"'), rewritten);
  const entry = JSON.parse(rewritten.replace("// from npm", "").replace(/,(\s*\})/g, "$1")).mcpServers.everything;

  let changes = 0;
  client.setNotificationHandler("notifications/tools/list_changed", () => void changes++);
  await client.connect(new StdioClientTransport({ ...entry, env: { ...cleanEnv({ MCP_AUTHZ_LOGIN: "link" }), ...entry.env }, stderr: "ignore" }));
  const env = () => client.callTool({ name: "get-env", arguments: {} });
  const refused = await env();
  assert.equal(refused.structuredContent?.error, "unauthorized", JSON.stringify(refused));
  assert.deepEqual(holders(), []);
  await approve(refused);
  const done = JSON.parse((await env()).content[0].text);
  assert.equal(done.GITHUB_TOKEN, SECRET);
  assert.equal(done.LEVEL, "debug");
  assert.ok(!Object.keys(done).some((name) => /^MCP_(VAULT|ACCESS)/.test(name)), "nothing of ours");
  assert.notDeepEqual(holders(), []);

  const known = changes;
  let page = await browser.open(s.at("/account"));
  while (/Revoke/.test(page.text)) page = await browser.submit(page, { press: /^revoke/i });
  await until("no process has the secret", () => holders().length === 0, 5_000);
  await until("the host is told", () => changes > known, 5_000);
  assert.equal((await env()).structuredContent.error, "invalid_token");
  assert.deepEqual(holders(), []);
  await client.close();
  for (const path of below(s.data)) assert.ok(!readFileSync(path).includes(SECRET), path);

  assert.equal(run("import", "--undo", "--yes").code, 0);
  assert.equal(readFileSync(file, "utf8"), before);
  assert.ok(existsSync(join(s.data, "vault.json")));
  assert.equal(run("vault", "list").stdout, "The vault is empty.\n");
});
