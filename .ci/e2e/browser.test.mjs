// A real browser goes through set-up, login, consent and denial: by mouse and by keyboard, wide and narrow, with
// hostile names; nothing overflows, nothing is loaded from elsewhere, axe finds nothing, and every page is photographed.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { HOSTILE, NARROW, WIDE, axe, browserAt, button, listen, logIn, override, password, reach, reader, shoot, shots, userField } from "./lib/chromium.mjs";
import { pkce, redeem, register, request } from "./lib/flow.mjs";
import { form } from "./lib/http.mjs";
import { runToEnd } from "./lib/programs.mjs";
import { remember } from "./lib/secrets.mjs";
import { PASSWORD, service } from "./lib/service.mjs";
import { stdioServer } from "./lib/stdio.mjs";
import { until } from "./lib/wait.mjs";

const s = await service({ users: [], args: ["--admin-page", "on"] });
const callback = await listen();
const visitor = browserAt(s, [new URL(callback.uri).host]);
remember("password", PASSWORD);
after(async () => {
  callback.close();
  await s.end();
});

const authorizeUrl = (client, proof, more) => `${s.at("/oauth/authorize")}?${form(Object.entries(request(client, proof, { redirect_uri: callback.uri, ...more })))}`;
const clientNamed = (name) => register(s, { client_name: name, redirect_uris: [callback.uri] });

test("first start: the printed link makes the owner, and the link is spent", async () => {
  const link = await until("the set-up link", () => s.logs().match(/https?:\/\/\S*setup\S*/i)?.[0]);
  const { page, faults } = await visitor();
  await page.goto(link);
  await shoot(page, "setup");
  await userField(page).fill("owner");
  for (const field of await password(page).all()) await field.fill("short");
  await page.evaluate(() => document.querySelectorAll("form").forEach((one) => (one.noValidate = true)));
  await button(page, /create|set ?up|continue|save|make/i).click();
  await page.waitForLoadState();
  await shoot(page, "setup-error");
  await userField(page).fill("owner");
  for (const field of await password(page).all()) await field.fill(PASSWORD);
  await button(page, /create|set ?up|continue|save|make/i).click();
  await page.waitForLoadState();
  await shoot(page, "setup-done");
  await page.goto(link);
  await shoot(page, "setup-spent");
  assert.equal(await password(page).count(), 0, "no form on a spent link");
  assert.deepEqual(faults, []);
});
test("login (wrong password first), consent, allow: the callback gets code, state and iss, and the code is good", async () => {
  const client = await clientNamed("Notes for desktop");
  const proof = pkce();
  const { page, faults } = await visitor();
  await page.goto(authorizeUrl(client, proof, { state: "allowed", scope: "mcp:tools:read mcp:tools:execute mcp:resources offline_access" }));
  await shoot(page, "login");
  await logIn(page, "not the password");
  await shoot(page, "login-error");
  await logIn(page);
  await shoot(page, "consent");
  await button(page, /allow|approve/i).click();
  const { searchParams } = await callback.next("allowed");
  assert.deepEqual([...searchParams.keys()].sort(), ["code", "iss", "state"]);
  assert.equal(searchParams.get("iss"), s.issuer);
  const got = await redeem(s, client, { code: remember("code", searchParams.get("code")), verifier: proof.verifier, redirect_uri: callback.uri });
  assert.equal(got.status, 200, got.text);
  assert.deepEqual(faults, []);
});
test("consent that speaks tools: boxes unticked by keyboard, wide and narrow, hostile titles", async () => {
  const announcing = stdioServer(s.data, { args: ["--samples", "--name", "tools"] });
  await until("the announcement", () => runToEnd("authz-service", ["audit", "tail", "--data", s.data]).stdout.includes("urn:mcp:stdio:tools"));
  await announcing.end();
  const client = await clientNamed(HOSTILE);
  const proof = pkce();
  const { page, faults } = await visitor();
  await page.goto(authorizeUrl(client, proof, { state: "boxes", resource: "urn:mcp:stdio:tools", scope: "mcp:tools:read mcp:tools:execute offline_access" }));
  await logIn(page);
  await shoot(page, "consent-tools");
  await reach(page, "input[name='tool:whoami']");
  await page.keyboard.press("Space");
  await reach(page, "input[name=lasting]");
  await page.keyboard.press("ArrowDown");
  assert.equal(await page.locator("input[name=lasting]:checked").getAttribute("value"), "hour");
  await shoot(page, "consent-tools-unticked");
  await button(page, /^allow/i).click();
  const code = (await callback.next("boxes")).searchParams.get("code");
  const got = await redeem(s, client, { code: remember("code", code), verifier: proof.verifier, redirect_uri: callback.uri, resource: "urn:mcp:stdio:tools" });
  assert.equal(got.status, 200, got.text);
  await page.goto(s.at("/account"));
  await shoot(page, "account-tools");
  assert.match(await page.locator("body").innerText(), /Only \d+ tools?/);
  assert.deepEqual(faults, []);
});
test("deny: the callback gets access_denied and no code", async () => {
  const { page, faults } = await visitor();
  await page.goto(authorizeUrl(await clientNamed("Notes"), pkce(), { state: "denied" }));
  await logIn(page);
  await button(page, /deny|cancel/i).click();
  const { searchParams } = await callback.next("denied");
  assert.equal(searchParams.get("error"), "access_denied");
  assert.equal(searchParams.get("iss"), s.issuer);
  assert.equal(searchParams.get("code"), null);
  assert.deepEqual(faults, []);
});
test("keyboard only, from login to the callback, with focus to be seen at every stop", async () => {
  const { page, faults } = await visitor();
  await page.goto(authorizeUrl(await clientNamed("Keys"), pkce(), { state: "keys" }));
  await reach(page, "input:not([type=password])");
  await page.keyboard.type("owner");
  await reach(page, "input[type=password]");
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press("Enter");
  await page.waitForSelector("button:has-text('Allow')");
  await reach(page, "button:has-text('Allow')");
  await page.keyboard.press("Enter");
  assert.ok((await callback.next("keys")).searchParams.get("code"));
  assert.deepEqual(faults, []);
});

test("Enter on the consent page does not allow by itself", async () => {
  const { page } = await visitor();
  await page.goto(authorizeUrl(await clientNamed("Enter"), pkce(), { state: "enter" }));
  await logIn(page);
  await page.locator("body").press("Enter");
  assert.ok(!callback.calls.some((url) => url.searchParams.get("state") === "enter"));
});
test("a hostile name: no overflow, nothing runs, it is text", async () => {
  const { page, faults } = await visitor();
  const client = await clientNamed(HOSTILE);
  await page.goto(authorizeUrl(client, pkce(), { state: "hostile" }));
  await shoot(page, "login-hostile");
  await logIn(page);
  await shoot(page, "consent-hostile");
  assert.equal(await page.locator("img[src=x]").count(), 0);
  assert.ok((await page.locator("body").innerText()).includes("<img src=x onerror=alert(1)>"));
  assert.notEqual(await override(page), "free", "a right-to-left override reaches the words around the name");
  assert.deepEqual(faults, []);
});
test("one long redirect host and resource: no overflow either", async () => {
  const { page, faults } = await visitor();
  const host = `${"a".repeat(60)}.${"b".repeat(60)}.${"c".repeat(60)}.example`;
  const client = await register(s, { client_name: "Long", redirect_uris: [`https://${host}/cb`] });
  await page.goto(`${s.at("/oauth/authorize")}?${form(request(client, pkce(), { resource: `urn:mcp:stdio:${"x".repeat(64)}` }))}`);
  await logIn(page);
  await shoot(page, "consent-long");
  assert.ok((await page.locator("body").innerText()).includes(host));
  assert.deepEqual(faults, []);
});
test("a consent page after a redirect to an allowed app is not stopped by form-action", async () => {
  const { page, faults } = await visitor();
  await page.goto(authorizeUrl(await clientNamed("Twice"), pkce(), { state: "first" }));
  await logIn(page);
  await button(page, /allow/i).click();
  await callback.next("first");
  await page.goto(authorizeUrl(await clientNamed("Twice"), pkce(), { state: "second" }));
  assert.equal(await password(page).count(), 0, "still logged in");
  await button(page, /allow/i).click();
  await callback.next("second");
  assert.deepEqual(faults, []);
});
test("error pages, the index, the documentation, a page that does not exist", async () => {
  const { page, faults } = await visitor();
  await page.goto(s.at("/oauth/authorize?client_id=nobody"));
  await shoot(page, "error");
  await page.goto(s.at("/"));
  await shoot(page, "index");
  await page.goto(s.at("/docs"));
  await shoot(page, "docs");
  await page.goto(s.at("/nope"));
  await page.screenshot({ path: join(shots, "not-found-wide.png") });
  assert.deepEqual(faults, []);
});
test("log out from the consent page, and the back button shows nothing that works", async () => {
  const { page, faults } = await visitor();
  await page.goto(authorizeUrl(await clientNamed("Out"), pkce(), { state: "out" }));
  await logIn(page);
  await button(page, /log ?out|sign ?out|not you/i).first().click();
  await page.waitForLoadState();
  await shoot(page, "logged-out");
  await page.goBack();
  const allow = button(page, /^allow/i);
  if (await allow.count()) await allow.click();
  await page.waitForLoadState();
  assert.ok(!callback.calls.some((url) => url.searchParams.get("state") === "out"), "no code after the log-out");
  assert.deepEqual(faults.filter((one) => !/ERR_CACHE_MISS/.test(one)), []);
});
test("the administrator's page: every part, wide and narrow; by keyboard; the chain is whole", async () => {
  const { page, faults } = await visitor();
  await page.goto(s.at("/admin"));
  await shoot(page, "admin-login");
  await logIn(page);
  for (const part of ["", "/clients", "/users", "/grants", "/audit"]) {
    await page.goto(s.at(`/admin${part}`));
    await shoot(page, `admin${part.replace("/", "-")}`);
    assert.notEqual(await override(page), "free", `a hostile name at /admin${part}`);
  }
  assert.match(await page.locator("body").innerText(), /The chain is whole/);
  await page.goto(s.at("/admin/clients"));
  const before = await page.locator(".cards > li").count();
  await reach(page, "button:has-text('Remove')");
  await page.keyboard.press("Enter");
  await page.getByText("It holds at once").waitFor();
  assert.equal(await page.locator(".cards > li").count(), before - 1);
  await shoot(page, "admin-done");
  assert.deepEqual(faults, []);
});
test("connected apps: seen, revoked one by one and all, by keyboard; the password changed; signed out", async () => {
  const { page, faults } = await visitor();
  await page.goto(s.at("/account"));
  await shoot(page, "account-login");
  await logIn(page);
  for (const [name, state] of [["Notes for desktop", "app-1"], [HOSTILE, "app-2"]]) {
    const proof = pkce();
    const client = await clientNamed(name);
    await page.goto(authorizeUrl(client, proof, { state }));
    await button(page, /allow/i).click();
    const { searchParams } = await callback.next(state);
    const got = await redeem(s, client, { code: remember("code", searchParams.get("code")), verifier: proof.verifier, redirect_uri: callback.uri });
    assert.equal(got.status, 200, got.text);
  }
  await page.goto(s.at("/account"));
  await shoot(page, "account");
  assert.notEqual(await override(page), "free");
  assert.equal(await page.locator("img[src=x]").count(), 0);
  const cards = () => page.locator(".cards > li").count();
  const before = await cards();
  await reach(page, "button:has-text('Revoke')");
  await page.keyboard.press("Enter");
  await page.getByText("Access was taken back").waitFor();
  assert.equal(await cards(), before - 1);
  await shoot(page, "account-revoked");
  await page.getByText("Change your password").click();
  await page.getByLabel("Current password").fill("not the password");
  await page.getByLabel("New password").fill("a much longer password");
  await button(page, "Change password").click();
  await page.getByText("The current password is wrong.").waitFor();
  await shoot(page, "account-problem");
  await page.getByText("Revoke the access of every app").click();
  await button(page, "Revoke all").click();
  await page.getByText("No app has access").waitFor();
  assert.equal(await cards(), 0);
  await shoot(page, "account-empty");
  await button(page, "Sign out everywhere").click();
  await page.getByText("You are signed out in every browser").waitFor();
  await shoot(page, "account-out");
  await page.goto(s.at("/account"));
  assert.equal(await password(page).count(), 1);
  assert.deepEqual(faults, []);
});
for (const scheme of ["dark", "light"]) {
  test(`${scheme} colours, larger text and reduced motion keep the pages whole`, async () => {
    const { page, faults } = await visitor(NARROW, { colorScheme: scheme, reducedMotion: "reduce", deviceScaleFactor: 2 });
    await page.goto(authorizeUrl(await clientNamed("Colours"), pkce(), { state: scheme }));
    await page.screenshot({ path: join(shots, `login-${scheme}.png`), fullPage: true });
    assert.deepEqual(await axe(page), []);
    await logIn(page);
    await page.screenshot({ path: join(shots, `consent-${scheme}.png`), fullPage: true });
    assert.deepEqual(await axe(page), []);
    await page.setViewportSize({ width: 320, height: 640 });
    assert.ok(await page.evaluate(() => document.scrollingElement.scrollWidth <= innerWidth), "320 px, as WCAG 1.4.10 asks");
    assert.deepEqual(faults, []);
  });
}
test("passkeys: added, used without a name, refused, removed; by keyboard, wide and narrow", async () => {
  const { page, faults } = await visitor();
  const ask = await reader(page);
  await page.goto(s.at("/account"));
  await logIn(page);
  await reach(page, "input[name=name]");
  await page.keyboard.type(HOSTILE.slice(0, 60));
  await reach(page, "button:has-text('Add a passkey')");
  await page.keyboard.press("Enter");
  await page.getByText("The passkey was added.").waitFor();
  await shoot(page, "passkey-added");
  const [made] = (await ask("getCredentials")).credentials;
  assert.deepEqual([made.isResidentCredential, made.rpId], [true, "localhost"]);
  // The same device has one already.
  await button(page, "Add a passkey").click();
  await page.getByText("This device has a passkey for this account already.").waitFor();
  await shoot(page, "passkey-twice");
  await button(page, "Sign out").first().click();
  await page.waitForLoadState();
  // Without a name, to what an app asks for. Nobody is seen at first.
  await ask("setUserVerified", { isUserVerified: false });
  await page.goto(authorizeUrl(await clientNamed("Passkeys"), pkce(), { state: "passkey" }));
  await shoot(page, "login-passkey");
  await reach(page, "button:has-text('Use a passkey')");
  await page.keyboard.press("Enter");
  await page.getByText("No passkey came from your browser.").waitFor();
  await shoot(page, "login-passkey-problem");
  await ask("setUserVerified", { isUserVerified: true });
  await reach(page, "button:has-text('Use a passkey')");
  await page.keyboard.press("Enter");
  await button(page, /^allow/i).click();
  assert.ok((await callback.next("passkey")).searchParams.get("code"));
  await page.goto(s.at("/account"));
  assert.match(await page.locator(".passkeys").innerText(), /Last used/);
  // A copy of it that has signed less often: refused, and the operator reads why.
  const signOut = async () => {
    await button(page, "Sign out").first().click();
    await page.waitForLoadState();
    await page.goto(s.at("/account"));
  };
  const [now] = (await ask("getCredentials")).credentials;
  await ask("removeCredential", { credentialId: now.credentialId });
  await ask("addCredential", { credential: { ...now, signCount: 0 } });
  await signOut();
  await button(page, "Use a passkey").click();
  await page.getByText("This passkey was not accepted.").waitFor();
  await until("the line about the clone", () => s.logs().includes("it may have been cloned"));
  await ask("removeCredential", { credentialId: now.credentialId });
  await ask("addCredential", { credential: { ...now, signCount: now.signCount + 1 } });
  await button(page, "Use a passkey").click();
  await page.getByText("Your account").waitFor();
  // What is removed here is refused, though the device still has it.
  await reach(page, "button:has-text('Remove')");
  await page.keyboard.press("Enter");
  await page.getByText("The passkey was removed").waitFor();
  await signOut();
  await button(page, "Use a passkey").click();
  await page.getByText("This passkey was not accepted.").waitFor();
  await shoot(page, "login-passkey-refused");
  assert.deepEqual(faults, []);
});
test("without scripts everything works: a passkey is all that needs one", async () => {
  const { page, faults } = await visitor(WIDE, { javaScriptEnabled: false });
  await page.goto(authorizeUrl(await clientNamed("Plain"), pkce(), { state: "plain" }));
  await logIn(page);
  await button(page, /allow/i).click();
  assert.ok((await callback.next("plain")).searchParams.get("code"));
  assert.deepEqual(faults, []);
});
test("C15 nothing was written down", () => s.assertWell());
