// Every page in every state that a person can meet: wide and narrow, no overflow, nothing that axe finds. The list names the
// template behind each state, and a template without a state fails.

import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, test } from "node:test";
import { MINUTE, clock, noClock } from "./lib/clock.mjs";
import { HOSTILE, browserAt, listen, logIn, shoot } from "./lib/chromium.mjs";
import { login, person, pkce, register, request } from "./lib/flow.mjs";
import { form, post } from "./lib/http.mjs";
import { freePort, runToEnd, tempFolder } from "./lib/programs.mjs";
import { remember } from "./lib/secrets.mjs";
import { addUser, service } from "./lib/service.mjs";
import { stdioServer } from "./lib/stdio.mjs";
import { until } from "./lib/wait.mjs";
import { host, wrap } from "./lib/wrapped.mjs";

const TEMPLATES = new URL("../../authz-service/src/http/pages/templates/", import.meta.url);
/** Parts of other templates. */
const PARTS = ["head.html", "foot.html", "choice.html"];
const GRANT = "urn:ietf:params:oauth:grant-type:device_code";
const TURNED = { resource: "urn:mcp:stdio:turncoat", scope: "mcp:tools:read mcp:tools:execute" };
const LOCAL = { redirect_uris: ["http://127.0.0.1:7777/cb"] };

/** A web server: a client's document, and what an OpenID provider says of itself. */
const answers = new Map();
const web = createServer((incoming, answer) => {
  const found = answers.get(incoming.url);
  answer.writeHead(found ? 200 : 404, { "content-type": "application/json" }).end(JSON.stringify(found ?? {}));
});
await new Promise((resolve) => web.listen(0, "127.0.0.1", resolve));
const provider = `http://localhost:${web.address().port}`;
answers.set("/.well-known/openid-configuration", { issuer: provider, authorization_endpoint: `${provider}/authorize`, token_endpoint: `${provider}/token`, jwks_uri: `${provider}/jwks`, response_types_supported: ["code"], subject_types_supported: ["public"], id_token_signing_alg_values_supported: ["RS256"], code_challenge_methods_supported: ["S256"] });
const folder = tempFolder("upstreams");
writeFileSync(join(folder, "secret"), `${remember("upstream secret", "of the provider's client 42")}\n`, { mode: 0o600 });
const upstream = (name, title, issuer) => ({ name, title, issuer, client_id: "mcp-authz", client_secret_file: "secret", allow: { domains: ["example.com"] }, create: true });
writeFileSync(join(folder, "upstreams.json"), JSON.stringify([upstream("up", "Example Corp", provider), upstream("down", "Nobody Ltd", `http://localhost:${await freePort()}`)]), { mode: 0o600 });

// Some pages come only when a login is some minutes old.
const later = noClock ? undefined : clock();
const s = await service({ env: later?.env, args: ["--admin-page", "on", "--cimd-allow-private", "--upstreams", join(folder, "upstreams.json")] });
const limited = await service({ users: [], limits: true });
addUser(s.data, "owner", undefined, ["--admin"]);
const callback = await listen();
after(async () => {
  for (const one of [web, callback]) one.closeAllConnections?.() ?? one.close();
  web.close();
  await Promise.all([s.end(), limited.end()]);
});
const atS = browserAt(s, [new URL(provider).host, new URL(callback.uri).host]);
const atLimited = browserAt(limited);

const url = (client, more) => `${s.at("/oauth/authorize")}?${form(Object.entries(request(client, pkce(), more)))}`;
const signedIn = async (page, path) => {
  await page.goto(path.startsWith("http") ? path : s.at(path));
  await logIn(page);
};
/** Presses a button until the page says that it is too much. */
async function untilTooMuch(page, press) {
  for (let i = 0; i < 30; i += 1) {
    const answered = page.waitForResponse((answer) => answer.request().method() === "POST");
    await press();
    const status = (await answered).status();
    await page.waitForLoadState();
    if (status === 429) return;
  }
  assert.fail("nobody is ever held up");
}

/** Template, state, the way there, and what a person then reads. */
const STATES = [
  ["login.html", "for an app", async (page) => page.goto(url(await register(s, { client_name: HOSTILE }))), /Sign in/],
  ["login.html", "for one's own page", (page) => page.goto(s.at("/account")), /Sign in to go on/],
  ["login.html", "with a provider that does not answer", async (page) => {
    await page.goto(s.at("/account"));
    await page.getByRole("button", { name: "Nobody Ltd" }).click();
    await page.waitForLoadState();
  }, /does not answer|cannot be reached|not available|try again/i],
  ["onward.html", "on the way to a provider", async (page) => {
    // The page leads on at once; 204 leaves the browser on it.
    await page.route(`${provider}/authorize*`, (route) => route.fulfill({ status: 204 }));
    await page.goto(s.at("/account"));
    await page.getByRole("button", { name: "Example Corp" }).click();
    await page.getByRole("heading", { name: "On to Example Corp" }).waitFor();
  }, /You sign in there, and come back here/],
  ["consent.html", "of a client by its document, on this computer", async (page) => {
    const client = { client_id: `http://127.0.0.1:${web.address().port}/app`, client_name: HOSTILE, ...LOCAL };
    answers.set("/app", client);
    await signedIn(page, url(client));
  }, /described at[^]*any program can say that it is this app/],
  ["consent.html", "of a client that nobody checked", async (page) => signedIn(page, url(await register(s, { client_name: "Notes" }))), /Nobody has checked this app/],
  ["consent.html", "with a tool that changed", async (page) => signedIn(page, url(await register(s, { client_name: "Turned" }), TURNED)), /One tool says something else[^]*changed since you agreed/],
  ["account.html", "with a tool that changed", async (page) => signedIn(page, "/account").then(() => leaf(page, /changed since you agreed/)), /changed since you agreed[^]*is not let in any more/],
  ["device.html", "with a wrong code", async (page) => {
    await signedIn(page, "/device");
    await page.getByLabel("Code").fill("BCDF-BCDF");
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("alert").waitFor();
  }, /code/i],
  ["device_consent.html", "of a stranger's device", async (page) => {
    const client = await register(s, { client_name: HOSTILE, redirect_uris: [], grant_types: [GRANT] });
    const { json } = await post(s.meta.device_authorization_endpoint, { client_id: client.client_id });
    remember("device code", json.device_code);
    await signedIn(page, json.verification_uri_complete);
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByRole("button", { name: "Allow" }).waitFor();
  }, /they would get your access/],
  ["account.html", "where apps were lately used", async (page) => signedIn(page, "/account").then(() => leaf(page, /Lately it called/)), /Lately it called \d+ times?/],
  ["account.html", "page 2", async (page) => signedIn(page, "/account").then(() => page.goto(s.at("/account?page=2"))), /Page 2 of 3/],
  ...(later ? [["account.html", "when a login is too old to add a passkey", async (page) => {
    await signedIn(page, "/account");
    later.set(11 * MINUTE);
    await page.reload();
  }, /Sign in once more/],
  ["login.html", "once more, for a passkey", async (page) => {
    later.set(0);
    await signedIn(page, "/account");
    later.set(11 * MINUTE);
    await page.goto(s.at("/account?again=1"));
  }, /Sign in to go on/]] : []),
  ["admin.html", "page 2 of the clients", async (page) => signedIn(page, "/admin").then(() => page.goto(s.at("/admin/clients?page=2"))), /Page 2 of/],
  ["admin.html", "page 2 of the grants", async (page) => signedIn(page, "/admin").then(() => page.goto(s.at("/admin/grants?page=2"))), /Page 2 of/],
  ["admin.html", "the calls", async (page) => signedIn(page, "/admin").then(() => page.goto(s.at("/admin/calls"))), /whoami/],
  ["message.html", "an app that nobody knows", (page) => page.goto(s.at("/oauth/authorize?client_id=nobody")), /No app is registered here/],
  ["message.html", "an address that leads nowhere", (page) => page.goto(s.at("/nope")), /leads nowhere/],
  ["message.html", "no administrator", async (page) => {
    await page.goto(s.at("/admin"));
    await logIn(page, undefined, "ada");
  }, /administrator/i],
  ["index.html", "usual", (page) => page.goto(s.at("/")), /./],
  ["docs.html", "usual", (page) => page.goto(s.at("/docs")), /./],
];

/** The same at a service with rate limits and without people. */
const HELD_UP = [
  // What holds up a stranger here is the link's secret.
  ["setup.html", "with a password that is too short", async (page) => {
    await page.goto(await until("the set-up link", () => limited.logs().match(/https?:\/\/\S*setup\S*/i)?.[0]));
    await page.evaluate(() => document.querySelectorAll("form").forEach((one) => (one.noValidate = true)));
    await page.locator("#username").fill("owner");
    await page.locator("#password").fill("short");
    await page.getByRole("button", { name: "Create account" }).click();
    await page.getByRole("alert").waitFor();
  }, /8 characters/],
  ["login.html", "tried too often", async (page) => {
    addUser(limited.data, "ada");
    await page.goto(limited.at("/account"));
    await untilTooMuch(page, async () => {
      await page.locator("#username").fill("ada");
      await page.locator("#password").fill("not the password");
      await page.getByRole("button", { name: "Sign in" }).click();
    });
  }, /too many|wait|try again/i],
];

test("each template has a state here", () => {
  const missing = readdirSync(TEMPLATES).filter((name) => !PARTS.includes(name) && ![...STATES, ...HELD_UP].some(([of]) => of === name));
  assert.deepEqual(missing, []);
});
/** Turns the pages of apps until one shows this: apps of one second stand in any order. */
async function leaf(page, what) {
  for (let n = 2; n <= 3 && !what.test(await page.locator("body").innerText()); n += 1) await page.goto(s.at(`/account?page=${n}`));
}
/** A server that says this of itself has told the store so. */
async function turncoat(...mode) {
  const told = () => runToEnd("authz-service", ["audit", "export", "--data", s.data]).stdout.split("\n").filter((line) => line.includes("turncoat") && line.includes("tools-announced")).length;
  const before = told();
  const one = host(wrap(s.data, [process.execPath, fileURLToPath(new URL("lib/fixture-server.mjs", import.meta.url)), ...mode], "--name", "turncoat"));
  await one.initialize();
  await until("the announcement", () => told() > before);
  await one.end();
}
test("a person with many apps, one of which has just called a tool", async () => {
  const browser = await person(s, "owner");
  let held;
  for (let i = 0; i < 52; i += 1) held = await login(s, browser, await register(s, { client_name: `App ${i}` }), { resource: "urn:mcp:stdio:default" });
  const server = stdioServer(s.data);
  await server.initialize();
  const { result } = await server.call("whoami", { access_token: held.access_token });
  assert.equal(result.isError ?? false, false, JSON.stringify(result));
  await server.end();
});
test("a person whose tool says something else of itself than when they agreed to it", async () => {
  const browser = await person(s, "owner");
  await turncoat();
  // Its app was used last, and stands first.
  await login(s, browser, await register(s, { client_name: "Turned" }), TURNED);
  await turncoat("changed");
});
for (const [at, states] of [[atS, STATES], [atLimited, HELD_UP]]) {
  for (const [template, state, way, shows] of states) {
    test(`${template}: ${state}`, async () => {
      const { page, faults, context } = await at();
      await way(page);
      assert.match(await page.locator("body").innerText(), shows);
      await shoot(page, `state-${template.replace(".html", "")}-${state.replace(/\W+/g, "-")}`);
      assert.deepEqual(faults, []);
      await context.close();
    });
  }
}
test("C15 nothing was written down", () => Promise.all([s.assertWell(), limited.assertWell()]));
