// Every walk through the pages (set-up, login, consent with a tool unticked, a device, connected apps, passkeys, administration), by
// keys alone and by pointer, wide and narrow, with a name that is markup, turns the text around and has no place to break. On every
// page: no overflow, nothing from elsewhere, no breach of the CSP, nothing that axe finds, and by keys a focus that can be seen.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { HANDS, HOSTILE, NARROW, WIDE, browserAt, hold, listen, reader } from "./lib/chromium.mjs";
import { pkce, redeem, register, request, tokens } from "./lib/flow.mjs";
import { form, post } from "./lib/http.mjs";
import { runToEnd } from "./lib/programs.mjs";
import { remember } from "./lib/secrets.mjs";
import { PASSWORD, service } from "./lib/service.mjs";
import { stdioServer } from "./lib/stdio.mjs";
import { until } from "./lib/wait.mjs";

const GRANT = "urn:ietf:params:oauth:grant-type:device_code";
const [NEW, SERVER] = ["another correct horse battery 23", "urn:mcp:stdio:tools"];
const ALL = "mcp:tools:read mcp:tools:execute offline_access";
const callback = await listen();
after(() => callback.close());
remember("password", PASSWORD);
remember("password", NEW);

const WALKS = [["wide", WIDE, "keys"], ["narrow", NARROW, "keys"], ["narrow", NARROW, "pointer"]];
for (const [size, viewport, way] of WALKS) walks(await service({ users: [], args: ["--admin-page", "on"] }), viewport, HANDS[way], `${size}-${way}`);

function walks(s, viewport, hand, name) {
  after(() => s.end());
  const visitor = browserAt(s, [new URL(callback.uri).host]);
  let secret = PASSWORD;

  /** A person who walks: what each step needs, and what each page is held to. */
  const walker = async () => {
    const { page, faults } = await visitor(viewport);
    const on = (words) => page.getByText(words).first().waitFor();
    return {
      page, on,
      press: (what) => hand.press(page, what),
      tick: (what) => hand.tick(page, what),
      type: (what, words) => hand.type(page, what, words),
      held: (what) => hold(page, `walk-${what}-${name}`),
      async open(address) {
        await page.goto(address.startsWith("http") ? address : s.at(address));
      },
      async signIn() {
        await page.waitForSelector("#username");
        await hand.type(page, "#username", "owner");
        await hand.type(page, "#password", secret);
        await hand.press(page, "button:has-text('Sign in')");
        await page.waitForSelector("#username", { state: "detached" });
      },
      end() {
        assert.deepEqual(faults, []);
        return page.context().close();
      },
    };
  };
  /** What an app asks for, and what becomes of it. */
  const app = async (state, more = {}) => {
    const client = await register(s, { client_name: HOSTILE, redirect_uris: [callback.uri] });
    const proof = pkce();
    const url = `${s.at("/oauth/authorize")}?${form(Object.entries(request(client, proof, { redirect_uri: callback.uri, state: `${name}-${state}`, scope: ALL, ...more })))}`;
    const answered = async () => (await callback.next(`${name}-${state}`)).searchParams;
    const redeemed = async () => {
      const got = await redeem(s, client, { code: remember("code", (await answered()).get("code")), verifier: proof.verifier, redirect_uri: callback.uri });
      assert.equal(got.status, 200, got.text);
      return got.json;
    };
    return { url, answered, redeemed };
  };

  test(`${name}: set-up`, async () => {
    const one = await walker();
    await one.open(await until("the set-up link", () => s.logs().match(/https?:\/\/\S*setup\S*/i)?.[0]));
    await one.type("#username", "owner");
    await one.type("#password", PASSWORD);
    await one.held("setup");
    await one.press("button:has-text('Create account')");
    await one.page.waitForSelector("#password", { state: "detached" });
    await one.held("setup-done");
    await one.end();
  });
  test(`${name}: login, and a consent with a tool unticked, for an hour`, async () => {
    const announcing = stdioServer(s.data, { args: ["--samples", "--name", "tools"] });
    await until("the announcement", () => runToEnd("authz-service", ["audit", "tail", "--data", s.data]).stdout.includes(SERVER));
    await announcing.end();
    const one = await walker();
    const { url, redeemed } = await app("tools", { resource: SERVER });
    await one.open(url);
    await one.held("login");
    await one.signIn();
    await one.tick("input[name='tool:whoami']");
    assert.equal(await one.page.locator("input[name='tool:whoami']").isChecked(), false);
    await one.held("consent");
    await one.press("button:has-text('Allow')");
    await one.page.waitForURL(`${callback.uri}*`);
    assert.ok((await redeemed()).access_token);
    await one.open("/account");
    assert.match(await one.page.locator("main").innerText(), /Only \d+ tools?/);
    await one.end();
  });
  test(`${name}: a device, with a scope unticked; and a no`, async () => {
    for (const [word, told] of [["Allow", "Access allowed"], ["Deny", "Access denied"]]) {
      const client = await register(s, { client_name: HOSTILE, redirect_uris: [], grant_types: [GRANT, "refresh_token"] });
      const { json } = await post(s.meta.device_authorization_endpoint, { client_id: client.client_id });
      remember("device code", json.device_code);
      const one = await walker();
      await one.open(json.verification_uri);
      await one.signIn();
      await one.type("#user_code", json.user_code);
      await one.held("device");
      await one.press("button:has-text('Continue')");
      await one.page.waitForSelector("button:has-text('Allow')");
      await one.tick("input[name='scope:mcp:tools:execute']");
      await one.held("device-consent");
      await one.press(`button:has-text('${word}')`);
      await one.on(told);
      await one.held(`device-${word.toLowerCase()}`);
      const got = await tokens(s, { grant_type: GRANT, device_code: json.device_code, client_id: client.client_id });
      assert.equal(got.json.scope?.includes("mcp:tools:execute") ?? got.json.error, word === "Allow" ? false : "access_denied");
      await one.end();
    }
  });
  test(`${name}: connected apps: one revoked, the password changed, all revoked, signed out everywhere`, async () => {
    const one = await walker();
    const first = await app("app");
    await one.open(first.url);
    await one.signIn();
    await one.press("button:has-text('Allow')");
    await one.page.waitForURL(`${callback.uri}*`);
    await first.redeemed();
    await one.open("/account");
    await one.held("account");
    const cards = () => one.page.locator(".cards > li").count();
    const before = await cards();
    await one.press("button:has-text('Revoke')");
    await one.on("Access was taken back");
    assert.equal(await cards(), before - 1);
    await one.press("summary:has-text('Revoke the access of every app')");
    await one.press("button:has-text('Revoke all')");
    await one.on("No app has access");
    await one.held("account-empty");
    await one.press("summary:has-text('Change your password')");
    await one.type("#current", secret);
    await one.type("input[name=password]", NEW);
    await one.held("account-password");
    await one.press("button:has-text('Change password')");
    await one.on("Your password was changed");
    secret = NEW;
    await one.press("button:has-text('Sign out everywhere')");
    await one.on("You are signed out in every browser");
    await one.held("account-out");
    await one.open("/account");
    await one.signIn();
    await one.press("button:has-text('Sign out')");
    await one.on("You are signed out");
    await one.end();
  });
  test(`${name}: a passkey: added, used, removed`, async () => {
    const one = await walker();
    await reader(one.page);
    await one.open("/account");
    await one.signIn();
    await one.type("input[name=name]", HOSTILE.slice(0, 60));
    await one.press("button:has-text('Add a passkey')");
    await one.on("The passkey was added");
    await one.held("passkey-added");
    await one.press("button:has-text('Sign out')");
    await one.on("You are signed out");
    await one.open("/account");
    await one.page.waitForSelector("#passkey:not([hidden])");
    await one.held("passkey-login");
    await one.press("button:has-text('Use a passkey')");
    await one.on("Your account");
    await one.press("button:has-text('Remove')");
    await one.on("The passkey was removed");
    await one.end();
  });
  test(`${name}: administration: every part by its menu, a client removed`, async () => {
    const one = await walker();
    await one.open("/admin");
    await one.signIn();
    await one.page.waitForSelector(".menu");
    for (const at of ["clients", "users", "grants", "calls", "audit"]) {
      await one.press(`.menu a[href$='/${at}']`);
      await one.page.waitForURL(`**/admin/${at}`);
      await one.held(`admin-${at}`);
    }
    await one.open("/admin/clients");
    const before = await one.page.locator(".cards > li").count();
    await one.press("button:has-text('Remove')");
    await one.on("It holds at once");
    assert.equal(await one.page.locator(".cards > li").count(), before - 1);
    await one.end();
  });
  test(`${name}: C15 nothing was written down`, () => s.assertWell());
}
