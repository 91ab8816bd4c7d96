// The official MCP Inspector logs in by itself: from the 401 of /mcp it discovers, registers, sends its person to the consent page, gets
// tokens and calls a tool, in both eras. Nobody gives it a token.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ALLOW, person } from "./lib/flow.mjs";
import { get } from "./lib/http.mjs";
import { inspecting } from "./lib/inspector.mjs";
import { freePort, runToEnd } from "./lib/programs.mjs";
import { remember } from "./lib/secrets.mjs";
import { service } from "./lib/service.mjs";
import { until } from "./lib/wait.mjs";

const s = await service({ args: ["--mcp"] });
after(() => s.end());
const browser = await person(s);
/** It asks for a login only where it believes that somebody looks; the browser that it then starts is none. */
const HUMAN = { MCP_AUTO_OPEN_ENABLED: "true", BROWSER: "true" };

for (const era of ["legacy", "modern"]) {
  test(`${era}: the Inspector discovers, registers, logs in and calls a tool`, async () => {
    const callback = `http://127.0.0.1:${await freePort()}/oauth/callback`;
    const run = inspecting(HUMAN, "--protocol-era", era, "--transport", "http", "--callback-url", callback, "--relogin", "--method", "tools/call", "--tool-name", "whoami", "--server-url", s.at("/mcp"));
    const url = await until("the page that it sends its person to", () => run.shown().match(/https?:\/\/\S*\/oauth\/authorize\?\S+/)?.[0], 30_000);
    const page = await browser.open(url);
    const answer = await browser.submit(page, { press: ALLOW, follow: false });
    assert.ok(answer.location?.startsWith(callback), `${answer.status} ${answer.location}`);
    remember("code", new URL(answer.location).searchParams.get("code"));
    assert.equal((await get(answer.location, { check: false })).status, 200);
    const done = await run.done;
    assert.equal(done.code, 0, done.stderr + done.stdout);
    assert.match(done.stdout, /"ada"/);
    const { clients } = JSON.parse(runToEnd("authz-service", ["client", "list", "--json", "--data", s.data]).stdout);
    assert.ok(clients.some((client) => /inspector/i.test(JSON.stringify(client))), "it registered");
  });
}
test("C15 nothing was written down", () => s.assertWell());
