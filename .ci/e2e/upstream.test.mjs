// A person signs in through somebody else's OpenID provider: npm's oidc-provider, in a real browser.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import Provider from "oidc-provider";
import { chromium } from "playwright-core";
import { CALLBACK, pkce, redeem, register, request } from "./lib/flow.mjs";
import { form } from "./lib/http.mjs";
import { freePort, runToEnd, tempFolder } from "./lib/programs.mjs";
import { remember } from "./lib/secrets.mjs";
import { service } from "./lib/service.mjs";

const axePath = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const shots = process.env.SHOTS ?? tempFolder("shots");
mkdirSync(shots, { recursive: true });
const SECRET = "a secret: with % and + in it, of the provider's client";
remember("upstream secret", SECRET);

const port = await freePort();
const [issuer, ours] = [`http://localhost:${await freePort()}`, `http://localhost:${port}`];
const listening = await provider();
const folder = tempFolder("upstreams");
writeFileSync(join(folder, "corp.secret"), `${SECRET}\n`, { mode: 0o600 });
const described = { name: "corp", title: "Example Corp", issuer, client_id: "mcp-authz", client_secret_file: "corp.secret", allow: { domains: ["example.com"] }, create: true };
writeFileSync(join(folder, "upstreams.json"), JSON.stringify([described]), { mode: 0o600 });
const s = await service({ port, args: ["--upstreams", join(folder, "upstreams.json"), "--password-login", "off"] });

let browser;
before(async () => {
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args });
});
after(async () => {
  await browser?.close();
  listening.closeAllConnections();
  listening.close();
  await s.end();
});

/** A provider whose people are called by what they type; RS256, PKCE, its own login and consent pages. */
async function provider() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = { ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: "rsa" };
  const made = new Provider(issuer, {
    clients: [{ client_id: "mcp-authz", client_secret: SECRET, redirect_uris: [`${ours}/login/upstream/corp`], grant_types: ["authorization_code"], response_types: ["code"] }],
    jwks: { keys: [jwk] },
    cookies: { keys: ["of the test"] },
    pkce: { required: () => true },
    conformIdTokenClaims: false,
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id, email: id.includes("@") ? id : `${id}@example.com`, email_verified: true }) }),
  });
  return new Promise((resolve) => {
    const server = made.listen(new URL(issuer).port, "127.0.0.1", () => resolve(server));
  });
}

async function axe(page) {
  const session = await page.context().newCDPSession(page);
  const { frameTree } = await session.send("Page.getFrameTree");
  const { executionContextId } = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id, worldName: "axe" });
  const expression = `${readFileSync(axePath, "utf8")};axe.run(document, { resultTypes: ["violations"] }).then((r) => r.violations.map((v) => v.id))`;
  const { result } = await session.send("Runtime.evaluate", { expression, contextId: executionContextId, awaitPromise: true, returnByValue: true });
  await session.detach();
  return result.value;
}

/** Photographs a page in both widths; nothing overflows, axe finds nothing. */
async function shoot(page, name) {
  for (const [size, viewport] of Object.entries({ wide: { width: 1280, height: 900 }, narrow: { width: 360, height: 740 } })) {
    await page.setViewportSize(viewport);
    await page.screenshot({ path: join(shots, `upstream-${name}-${size}.png`), fullPage: true });
    const over = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
    assert.ok(over <= 0, `${name} ${size}: ${over} px too wide`);
    assert.deepEqual(await axe(page), [], `${name} ${size}`);
  }
}

/** From the app's request to the page that the provider sends back to, with the keyboard on our side. */
async function signIn(page, client, proof, who) {
  const faults = [];
  page.on("console", (message) => /Content Security Policy/i.test(message.text()) && message.location().url.startsWith(ours) && faults.push(message.text()));
  await page.goto(`${s.at("/oauth/authorize")}?${form(Object.entries(request(client, proof)))}`);
  const button = page.getByRole("button", { name: "Sign in with Example Corp" });
  assert.equal(await page.locator('input[type="password"]').count(), 0, "no password form");
  await shoot(page, "login");
  await button.focus();
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.href.startsWith(`${issuer}/interaction`));
  await page.locator('input[name="login"]').fill(who);
  await page.locator('input[name="password"]').fill("whatever");
  await page.locator('button[type="submit"]').click();
  await page.waitForURL((url) => url.href.startsWith(`${issuer}/interaction`));
  await page.getByRole("button", { name: /continue/i }).click();
  await page.waitForURL((url) => url.href.startsWith(ours));
  return faults;
}

test("somebody of the allowed domain gets an account, consents, and the app's code is good", async () => {
  const client = await register(s, { client_name: "Notes" });
  const proof = pkce();
  const page = await (await browser.newContext()).newPage();
  await page.route(`${CALLBACK}**`, (route) => route.fulfill({ body: "done" }));
  const faults = await signIn(page, client, proof, "ada");
  await shoot(page, "consent");
  assert.match(await page.textContent("main"), /ada@example\.com/);
  await page.getByRole("button", { name: /allow/i }).click();
  await page.waitForURL((url) => url.href.startsWith(CALLBACK));
  const back = new URL(page.url()).searchParams;
  assert.equal(back.get("state"), "s-123");
  const tokens = await redeem(s, client, { code: back.get("code"), verifier: proof.verifier, redirect_uri: CALLBACK });
  assert.equal(tokens.status, 200, tokens.text);
  assert.deepEqual(faults, []);
  const { users } = JSON.parse(runToEnd("authz-service", ["user", "list", "--json", "--data", s.data]).stdout);
  assert.deepEqual(users.find((one) => one.name === "ada@example.com").links.map(({ issuer, subject }) => [issuer, subject]), [[issuer, "ada"]]);
  await s.assertWell();
});

test("somebody of another domain is told so, by a page that the operator can use", async () => {
  const client = await register(s, { client_name: "Notes" });
  const page = await (await browser.newContext()).newPage();
  await signIn(page, client, pkce(), "eve@evil.example");
  await shoot(page, "not-allowed");
  assert.match(await page.textContent("main"), /not among those who may sign in here/);
  await s.assertWell();
});
