// The MCP conformance suite in its `server` mode against /mcp in front of a wrapped stdio server that offers all that the
// suite looks for (lib/conformance): every scenario that it has, in every version that it has it for, one at a time.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { after, describe, test } from "node:test";
import { withBearer } from "./lib/bearer.mjs";
import { login, person, register } from "./lib/flow.mjs";
import { get } from "./lib/http.mjs";
import { freePort, start, stop } from "./lib/programs.mjs";
import { service } from "./lib/service.mjs";
import { assertConforms, scenarios } from "./lib/suite.mjs";
import { until } from "./lib/wait.mjs";

const port = await freePort();
const url = `http://localhost:${port}/mcp`;
const s = await service({ args: ["--resource", url] });
after(() => s.end());
const fixture = [process.execPath, fileURLToPath(new URL("lib/conformance/server.mjs", import.meta.url))];
const run = start("mcp-stdio-server", ["http", "--listen", `127.0.0.1:${port}`, "--data", s.data, "--", ...fixture]);
after(() => stop(run));
await until("the tools", () => get(url, { check: false }).then((answer) => answer.status === 401, () => false), 30_000);
const browser = await person(s);
const client = await register(s);
const { access_token } = await login(s, browser, client, { resource: url, scope: "mcp:tools mcp:resources" });
const front = await withBearer(url, access_token);
after(() => front.end());

const offered = await scenarios();
describe("every scenario", { concurrency: 3 }, () => {
  for (const { name, versions } of offered) {
    for (const version of versions) test(`${name}: ${version}`, async () => void (await assertConforms(front.url, name, version)));
  }
});
