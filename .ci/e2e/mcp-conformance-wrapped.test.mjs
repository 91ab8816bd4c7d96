// The MCP conformance suite in its `server` mode against /mcp in front of a wrapped stdio server that offers all that the
// suite looks for (lib/conformance): every scenario that it has, in every version that it has it for, one at a time. Then
// the same where the server knows the other era only, so that every message is translated.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { after, describe, test } from "node:test";
import { withBearer } from "./lib/bearer.mjs";
import { login, person, register } from "./lib/flow.mjs";
import { get } from "./lib/http.mjs";
import { mcpClient } from "./lib/mcp-client.mjs";
import { freePort, start, stop } from "./lib/programs.mjs";
import { service } from "./lib/service.mjs";
import { assertConforms, scenario, scenarios } from "./lib/suite.mjs";
import { until } from "./lib/wait.mjs";

const MODERN = "2026-07-28";

/** What the suite has and cannot show of anybody, and why. */
const SHOWS_NOTHING = {
  "tasks-status-notifications": "the suite skips its only check: it looks for the news on a stream that they do not come on any more",
};

/** /mcp in front of the fixture, with a service of its own and somebody signed in: where the suite finds it. */
async function wrapped(...only) {
  const port = await freePort();
  const url = `http://localhost:${port}/mcp`;
  const s = await service({ args: ["--resource", url] });
  after(() => s.end());
  const fixture = [process.execPath, fileURLToPath(new URL("lib/conformance/server.mjs", import.meta.url)), ...only];
  const run = start("mcp-stdio-server", ["http", "--listen", `127.0.0.1:${port}`, "--data", s.data, "--", ...fixture]);
  after(() => stop(run));
  await until("the tools", () => get(url, { check: false }).then((answer) => answer.status === 401, () => false), 30_000);
  const browser = await person(s);
  const client = await register(s);
  const { access_token } = await login(s, browser, client, { resource: url, scope: "mcp:tools mcp:resources" });
  const front = await withBearer(url, access_token);
  after(() => front.end());
  return { ...front, service: s, direct: url };
}

const offered = (await scenarios()).flatMap(({ name, versions }) => versions.map((version) => ({ name, version })));
const both = await wrapped();
/** By the version of the host: the server that knows the other era only. */
const other = { [MODERN]: await wrapped("legacy"), "2025-11-25": await wrapped("modern") };

describe("every scenario in every version", { concurrency: 3 }, () => {
  for (const { name, version } of offered) {
    test(`${name}: ${version}`, async () => {
      if (SHOWS_NOTHING[name]) {
        const { checks } = await scenario(both.url, name, version);
        return assert.deepEqual(checks.map(({ status }) => status), ["SKIPPED"], `${name} can be run by now`);
      }
      const checks = await assertConforms(both.url, name, version);
      if (name === "server-sse-polling") assert.ok(checks.some(({ id, status }) => id === "server-sse-disconnect-resume" && status === "SUCCESS"), "it came back for its answer");
    });
  }
});

/** What a server of the earlier era cannot do for a host of 2026-07-28, whoever stands between. */
const ONLY_MODERN = {
  "input-required-result-basic-elicitation": "the suite wants its question under a name, and questions of the earlier era have none",
  "input-required-result-multiple-input-requests": "it asks one thing at a time",
};
// One at a time: a server of the earlier era does not say during which call it asks, and two that run at once may get each other's.
describe("the latest version of each era over a server of the other", { concurrency: 1 }, () => {
  for (const { name, version } of offered.filter(({ version }) => other[version])) {
    const why = version === MODERN && ONLY_MODERN[name];
    test(`${name}: ${version}${why ? `, not: ${why}` : ""}`, async () => {
      if (!why) return void (await assertConforms(other[version].url, name, version));
      const { checks } = await scenario(other[version].url, name, version);
      assert.ok(checks.some(({ status }) => !["SUCCESS", "INFO"].includes(status)), "it can by now");
    });
  }
});

test("mcp-client signs in to the wrapped server from the 401 alone, lists and calls", async () => {
  const client = mcpClient();
  assert.match(await client.login(both.service, both.direct), /test_simple_text/, "its tools stand on the consent page");
  const tools = await client.run("tools", both.direct);
  assert.match(tools.stdout, /test_simple_text/, tools.stderr);
  const called = await client.run("call", "test_simple_text", both.direct);
  assert.equal(called.code, 0, called.stderr);
  assert.match(called.stdout, /This is a simple text response for testing/);
});

test("the services live, and have written down no secret", async () => {
  for (const { service: s } of [both, ...Object.values(other)]) await s.assertWell();
});
