// The official MCP Inspector, driven from its command line, lists and calls the tools over stdio in both eras.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { login, person, register } from "./lib/flow.mjs";
import { inspector } from "./lib/inspector.mjs";
import { program } from "./lib/programs.mjs";
import { service } from "./lib/service.mjs";

const s = await service();
after(() => s.end());
const browser = await person(s);
const client = await register(s);
const { access_token } = await login(s, browser, client);
const server = [program("mcp-stdio-server"), "--data", s.data, "--samples"];
const call = (era, tool, args) => inspector("--protocol-era", era, "--method", "tools/call", "--tool-name", tool, "--tool-args-json", JSON.stringify(args), "--", ...server);

for (const era of ["legacy", "modern", "auto"]) {
  test(`${era}: tools/list, with no portability problem in any schema`, async () => {
    const run = await inspector("--protocol-era", era, "--method", "tools/list", "--strict", "--", ...server);
    assert.equal(run.code, 0, run.stderr + run.stdout);
    const names = run.json.tools.map((tool) => tool.name);
    for (const name of ["public_info", "echo", "whoami", "get_time", "get_weather", "list_files", "get_user_profile"]) assert.ok(names.includes(name), `${names}`);
  });
  test(`${era}: public_info is open`, async () => {
    const run = await call(era, "public_info", {});
    assert.equal(run.code, 0, run.stderr + run.stdout);
    assert.ok(run.json.structuredContent, run.stdout);
  });
  test(`${era}: echo without a token is refused as a tool result`, async () => {
    const run = await call(era, "echo", { message: "m" });
    assert.match(run.stdout + run.stderr, /"isError":\s*true/);
  });
  test(`${era}: echo with a token in the argument`, async () => {
    const run = await call(era, "echo", { message: "from the Inspector", access_token });
    assert.equal(run.code, 0, run.stderr + run.stdout);
    assert.deepEqual(run.json.structuredContent, { echo: "from the Inspector", authorized: true, length: 18 });
  });
  test(`${era}: a token in the environment opens whoami`, async () => {
    const run = await inspector("--protocol-era", era, "-e", `MCP_ACCESS_TOKEN=${access_token}`, "--method", "tools/call", "--tool-name", "whoami", "--", ...server);
    assert.equal(run.code, 0, run.stderr + run.stdout);
    assert.match(run.stdout, /ada/);
  });
}
test("C15 nothing was written down", () => s.assertWell());
