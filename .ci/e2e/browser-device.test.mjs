// The pages of a device's login in a real browser: every one of them wide and narrow, held to axe; by keyboard alone; and with
// a name that is markup, turns the text around, and has no place to break.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { HOSTILE, browserAt, button, logIn, override, reach, shoot } from "./lib/chromium.mjs";
import { register, tokens } from "./lib/flow.mjs";
import { post } from "./lib/http.mjs";
import { runToEnd } from "./lib/programs.mjs";
import { remember } from "./lib/secrets.mjs";
import { PASSWORD, service } from "./lib/service.mjs";
import { stdioServer } from "./lib/stdio.mjs";
import { until } from "./lib/wait.mjs";

const GRANT = "urn:ietf:params:oauth:grant-type:device_code";
const s = await service();
const visitor = browserAt(s);
after(() => s.end());

/** A program that waits for a person's word. */
async function waiting(name, more = {}) {
  const client = await register(s, { client_name: name, redirect_uris: [], grant_types: [GRANT, "refresh_token"] });
  const { json } = await post(s.meta.device_authorization_endpoint, { client_id: client.client_id, ...more });
  remember("device code", json.device_code);
  return { ...json, poll: () => tokens(s, { grant_type: GRANT, device_code: json.device_code, client_id: client.client_id }) };
}
const words = (page) => page.locator("main").innerText();

test("a device's pages, one after the other: sign in, type the code, choose, done; then the code is spent", async () => {
  const announcing = stdioServer(s.data, { args: ["--samples", "--name", "tools"] });
  await until("the announcement", () => runToEnd("authz-service", ["audit", "tail", "--data", s.data]).stdout.includes("urn:mcp:stdio:tools"));
  await announcing.end();
  const device = await waiting("Television", { resource: "urn:mcp:stdio:tools", scope: "mcp:tools:read mcp:tools:execute offline_access" });
  const { page, faults } = await visitor();
  await page.goto(device.verification_uri);
  await shoot(page, "device-login");
  await logIn(page, undefined, "ada");
  await shoot(page, "device");
  await page.getByLabel("Code").fill("BCDF-BCDF");
  await button(page, "Continue").click();
  await page.getByRole("alert").waitFor();
  await shoot(page, "device-wrong-code");
  await page.getByLabel("Code").fill(device.user_code);
  await button(page, "Continue").click();
  await button(page, "Allow").waitFor();
  await shoot(page, "device-consent");
  await page.locator("input[name='tool:whoami']").uncheck();
  await button(page, "Allow").click();
  await page.getByText("Access allowed").first().waitFor();
  await shoot(page, "device-allowed");
  const got = await device.poll();
  assert.equal(got.status, 200, got.text);
  await page.goto(device.verification_uri_complete);
  await shoot(page, "device-complete");
  await button(page, "Continue").click();
  await page.getByRole("alert").waitFor();
  await page.goto(s.at("/account"));
  await shoot(page, "device-account");
  assert.match(await words(page), /Television[^]*Only \d+ tools?/);
  assert.deepEqual(faults, []);
});
test("keyboard only: the code, a box unticked, Allow, with focus to be seen at every stop", async () => {
  const device = await waiting("Keys");
  const { page, faults } = await visitor();
  await page.goto(device.verification_uri);
  await reach(page, "input:not([type=password])");
  await page.keyboard.type("ada");
  await reach(page, "input[type=password]");
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#user_code");
  await reach(page, "#user_code");
  await page.keyboard.type(device.user_code.toLowerCase().replace("-", " "));
  await page.keyboard.press("Enter");
  await page.waitForSelector("button:has-text('Allow')");
  await reach(page, "input[name='scope:mcp:tools:execute']");
  await page.keyboard.press("Space");
  await reach(page, "button:has-text('Allow')");
  await page.keyboard.press("Enter");
  await page.getByText("Access allowed").first().waitFor();
  const got = await device.poll();
  assert.equal(got.status, 200, got.text);
  assert.ok(!got.json.scope.includes("mcp:tools:execute"), got.json.scope);
  assert.deepEqual(faults, []);
});
test("a hostile name on a device's pages: no overflow, nothing runs, it is text; and a no is a no", async () => {
  const device = await waiting(HOSTILE);
  const { page, faults } = await visitor();
  await page.goto(device.verification_uri_complete);
  await logIn(page, undefined, "ada");
  await button(page, "Continue").click();
  await button(page, "Allow").waitFor();
  await shoot(page, "device-hostile");
  assert.equal(await page.locator("img[src=x]").count(), 0);
  assert.ok((await words(page)).includes("<img src=x onerror=alert(1)>"));
  assert.notEqual(await override(page), "free");
  await button(page, "Deny").click();
  await page.getByText("Access denied").first().waitFor();
  await shoot(page, "device-denied");
  assert.equal((await device.poll()).json.error, "access_denied");
  assert.deepEqual(faults, []);
});
test("C15 nothing was written down", () => s.assertWell());
