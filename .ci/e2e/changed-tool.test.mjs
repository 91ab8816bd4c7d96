// A tool that becomes another asks again (N15): whoever agreed to what it was is not taken to agree to what it is. On stdio and
// over HTTP, in a list and in a call, on the consent page and among the connected apps; and a new yes opens it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, test } from "node:test";
import { authorize, login, person, pkce, register, request } from "./lib/flow.mjs";
import { cleanEnv, program } from "./lib/programs.mjs";
import { service } from "./lib/service.mjs";
import { until } from "./lib/wait.mjs";
import { host, wrap } from "./lib/wrapped.mjs";

const s = await service();
after(() => s.end());
const browser = await person(s);
const client = await register(s);
const fixture = [process.execPath, join(dirname(fileURLToPath(import.meta.url)), "lib/fixture-server.mjs")];
const NAME = "turncoat";
const WANTED = { resource: `urn:mcp:stdio:${NAME}`, scope: "mcp:tools:read mcp:tools:execute" };
const MARK = /changed since you agreed/;

/** The server as it is in this mode, with a token. */
const server = (mode, token) => host(wrap(s.data, [...fixture, ...mode], "--name", NAME), { env: { MCP_ACCESS_TOKEN: token } });
const consentPage = () => authorize(s, browser, request(client, pkce(), WANTED));
const account = () => browser.open("/account");
const call = (one, name = "seen") => one.ask("tools/call", { name, arguments: {} });
const audit = (...args) => execFileSync(program("authz-service"), ["audit", ...args, "--data", s.data], { env: cleanEnv(), encoding: "utf8" });
/** Waits until the store knows what the server says of itself. */
const announced = (times) => until(`announcement ${times}`, () => audit("tail").split("\n").filter((line) => line.includes(NAME) && /tools/.test(line)).length >= times, 10_000);

let first;
test("N15: what a person agreed to works, with the words that they agreed to", async () => {
  const one = server([]);
  await one.initialize();
  await announced(1);
  await one.end();
  first = (await login(s, browser, client, WANTED)).access_token;
  const now = server([], first);
  await now.initialize();
  assert.ok((await call(now)).result.content);
  assert.equal(await now.end(), 0);
  assert.doesNotMatch((await consentPage()).text, MARK);
});

test("N15: the tool becomes another: it is refused, no list has its new words, and everybody is told to ask the person", async () => {
  const one = server(["changed"], first);
  await one.initialize();
  await announced(2);
  const { tools } = (await one.ask("tools/list", {})).result;
  const seen = tools.find((tool) => tool.name === "seen");
  assert.match(seen.description, /^\[Changed/);
  assert.ok(!JSON.stringify(tools).includes("wants your keys"), "a model does not read it");
  assert.deepEqual(seen.inputSchema, { type: "object" });
  const { result } = await call(one);
  assert.ok(result.isError);
  assert.equal(result.structuredContent.error, "insufficient_scope", JSON.stringify(result));
  assert.match(result.content[0].text, /allow it again/);
  assert.ok((await call(one, "look")).result.content, "the others are as they were");
  assert.equal(await one.end(), 0);
  assert.match(audit("export", "--calls"), /"cause":"tool-changed"/);
  const page = await consentPage();
  assert.match(page.text, MARK);
  assert.equal(page.text.match(new RegExp(MARK, "g")).length, 1, "the one that changed");
  assert.match((await account()).text, MARK);
});

test("N15: a new yes opens what it is now, and what it was is then the one that nobody agreed to", async () => {
  const second = (await login(s, browser, client, WANTED)).access_token;
  const one = server(["changed"], second);
  await one.initialize();
  const { tools } = (await one.ask("tools/list", {})).result;
  assert.equal(tools.find((tool) => tool.name === "seen").description, "Now wants your keys.");
  assert.ok((await call(one)).result.content);
  assert.equal(await one.end(), 0);
  // A server of the same name that has not been updated. It says so itself, for the page shows what was told last.
  const old = server([], second);
  await old.initialize();
  await announced(3);
  assert.equal((await call(old)).result.structuredContent.error, "insufficient_scope");
  assert.equal(await old.end(), 0);
  const still = server([], first);
  await still.initialize();
  assert.ok((await call(still)).result.content, "the first token is still for what the tool was");
  assert.equal(await still.end(), 0);
});
