// A login from inside an assistant, with Chromium giving consent while the call waits: by the browser that the server opens,
// and by the dialogs of the official SDKs in each era; then the revocation, which hides the tools in the running server.

import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import * as v2 from "@modelcontextprotocol/client";
import { StdioClientTransport as Stdio2 } from "@modelcontextprotocol/client/stdio";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as Stdio1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { cleanEnv, program, tempFolder } from "./lib/programs.mjs";
import { PASSWORD, service } from "./lib/service.mjs";
import { stdioServer } from "./lib/stdio.mjs";
import { until } from "./lib/wait.mjs";

const s = await service();
let browser;
before(async () => {
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args });
});
after(async () => {
  await browser?.close();
  await s.assertWell();
  await s.end();
});

const button = (page, words) => page.getByRole("button", { name: words });

/** A person opens the page that they are shown, signs in, compares the code, and decides. */
async function consent(page, url, { untick = [], decision = "Allow" } = {}) {
  await page.goto(url);
  const name = page.locator('input[autocomplete="username"]');
  if (await name.count()) {
    await name.fill("ada");
    await page.locator('input[type="password"]').fill(PASSWORD);
    await button(page, /sign in/i).click();
    await page.waitForLoadState();
  }
  await button(page, "Continue").click();
  await page.waitForLoadState();
  const words = await page.locator("main").innerText();
  // N6: the program that started the server is this test's, and the computer says so.
  assert.match(words, new RegExp(`\\bnode\\b[^]*${process.execPath.replaceAll("/", "\\/")}`), words);
  assert.match(words, /ladder\.test\.mjs/);
  assert.doesNotMatch(words, /another device/);
  for (const tool of untick) await page.locator(`input[name="tool:${tool}"]`).uncheck();
  await button(page, decision).click();
  await page.waitForLoadState();
  return words;
}

test("the server opens the browser, the call waits for the consent, and a revocation hides the tools", async () => {
  const folder = tempFolder("browser");
  const [script, opened] = [join(folder, "browser"), join(folder, "opened")];
  writeFileSync(script, `#!/bin/sh\necho "$1" >> '${opened}'\n`);
  chmodSync(script, 0o700);
  const server = stdioServer(s.data, { env: { BROWSER: script } });
  await server.initialize();
  const told = () => server.lines().filter((line) => line.method === "notifications/tools/list_changed").length;
  const names = async () => (await server.ask("tools/list", {})).result.tools.map((tool) => tool.name);
  const all = await names();
  const call = server.call("echo", { message: "hello" }, { _meta: { progressToken: 7 } });
  await until("the browser is opened", () => existsSync(opened) && readFileSync(opened, "utf8").endsWith("\n"));
  const context = await browser.newContext();
  const page = await context.newPage();
  await consent(page, readFileSync(opened, "utf8").trim(), { untick: ["whoami"] });
  const { result } = await call;
  assert.equal(result.isError, false, JSON.stringify(result));
  assert.match(JSON.stringify(result.structuredContent), /hello/);
  await until("list_changed after the login", () => told() >= 1);
  assert.deepEqual(await names(), all.filter((name) => name !== "whoami"));
  const left = (await server.call("whoami")).result;
  assert.deepEqual([left.isError, left.structuredContent.error], [true, "insufficient_scope"]);
  // Connected apps name the program; one click there, and the running server knows.
  await page.goto(s.at("/account"));
  const account = await page.locator("main").innerText();
  assert.ok(account.includes(process.execPath) && account.includes("ladder.test.mjs"), account);
  const before = told();
  await button(page, /^(revoke|remove|take back)/i).first().click();
  await page.waitForLoadState();
  await until("list_changed after the revocation", () => told() > before, 2_000);
  assert.deepEqual(await names(), ["public_info"]);
  const shut = (await server.call("echo", { message: "hello" })).result;
  assert.deepEqual([shut.isError, shut.structuredContent.error], [true, "invalid_token"]);
  assert.equal(readFileSync(opened, "utf8").split("\n").length, 2, "one page, once");
  const { logins } = JSON.parse(readFileSync(join(s.data, "logins.json"), "utf8"));
  for (const { token } of logins) assert.ok(!(server.run.stdout + server.run.stderr + s.logs()).includes(token), "C15");
  await context.close();
  await server.end();
});

const capabilities = { elicitation: { url: {} } };
const info = { name: "e2e", version: "1" };
/** Each way in which an official SDK shows a person a URL. */
const hosts = {
  "2.x legacy": () => [new v2.Client(info, { capabilities }), Stdio2, "elicitation/create"],
  "2.x 2026-07-28": () => [new v2.Client(info, { capabilities, versionNegotiation: { mode: { pin: "2026-07-28" } } }), Stdio2, "elicitation/create"],
  "1.x": () => [new Client1(info, { capabilities }), Stdio1, ElicitRequestSchema],
};

for (const [name, make] of Object.entries(hosts)) {
  test(`${name}: the host shows the URL, and the call goes through when the person has decided there`, async () => {
    const [client, Transport, method] = make();
    const shown = [];
    client.setRequestHandler(method, (request) => {
      shown.push(request.params);
      return { action: "accept" };
    });
    const server = ["--data", s.data, "--name", `sdk-${Object.keys(hosts).indexOf(name)}`, "--login", "elicit"];
    const transport = new Transport({ command: program("mcp-stdio-server"), args: server, env: cleanEnv(), stderr: "ignore" });
    await client.connect(transport);
    const call = client.callTool({ name: "echo", arguments: { message: "hello" } });
    const asked = await until("the host is asked", () => shown[0]);
    assert.equal(asked.mode, "url");
    const context = await browser.newContext();
    const words = await consent(await context.newPage(), asked.url);
    const code = new URL(asked.url).searchParams.get("user_code");
    assert.ok(words.includes(code) && asked.message.includes(code), "the host and the page show one code");
    const result = await call;
    assert.notEqual(result.isError, true, JSON.stringify(result));
    assert.equal(shown.length, 1, "asked once");
    await context.close();
    await client.close();
  });
}

test("a person who says no on the page is not asked again by themselves, and the call says so", async () => {
  const server = stdioServer(s.data, { args: ["--name", "denied", "--login", "link"] });
  await server.initialize();
  const link = (await server.call("echo", { message: "hello" })).result.structuredContent;
  const call = server.call("echo", { message: "hello" }, { _meta: { progressToken: 1 } });
  await until("the call waits", () => server.lines().some((line) => line.method === "notifications/progress"));
  const context = await browser.newContext();
  await consent(await context.newPage(), link.verification_uri_complete, { decision: "Deny" });
  const denied = (await call).result;
  assert.deepEqual([denied.isError, denied.structuredContent.error], [true, "access_denied"]);
  await context.close();
  await server.end();
});
