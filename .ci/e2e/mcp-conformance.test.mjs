// The MCP conformance suite in its `server` mode against /mcp, one scenario at a time. Against our own tools everything that
// needs no tools of the suite's; mcp-conformance-wrapped has the rest.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { withBearer } from "./lib/bearer.mjs";
import { login, person, register } from "./lib/flow.mjs";
import { service } from "./lib/service.mjs";
import { assertConforms, scenario, scenarios } from "./lib/suite.mjs";

/** What needs no tools, prompts or resources of the suite's own. */
const OURS = [
  "server-initialize", "server-session-lifecycle", "ping", "tools-list", "server-sse-multiple-streams", "dns-rebinding-protection",
  "http-header-validation", "input-required-result-unsupported-methods",
];

const s = await service({ args: ["--mcp"] });
after(() => s.end());
const browser = await person(s);
const client = await register(s);
const { access_token } = await login(s, browser, client, { resource: s.at("/mcp"), scope: "mcp:tools" });
const front = await withBearer(s.at("/mcp"), access_token);
after(() => front.end());

const offered = await scenarios();
for (const name of OURS) {
  const versions = offered.find((one) => one.name === name)?.versions;
  assert.ok(versions, `the suite has ${name}`);
  test(`${name}: ${versions.join(", ")}`, async () => {
    for (const version of versions) await assertConforms(front.url, name, version);
  });
}
test("the suite would notice: without a token nothing succeeds", async () => {
  const run = await scenario(s.at("/mcp"), "ping", "2025-11-25");
  assert.notEqual(run.code, 0, run.said);
});
test("the service lives, and has written down no secret", () => s.assertWell());
