// The device grant (RFC 8628) through the real programs: codes, the page, polling, and who may not.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { asserting, assertion, pair, signer } from "../lib/assertion.mjs";
import { ALLOW, DENY, basic, jwt, logIn, person, refresh, refused, register, tokens } from "../lib/flow.mjs";
import { ask, get, post } from "../lib/http.mjs";
import { Browser, visible } from "../lib/page.mjs";
import { runToEnd, start as launch, tempFolder } from "../lib/programs.mjs";
import { remember } from "../lib/secrets.mjs";
import { service } from "../lib/service.mjs";
import { done, stdioServer, toolRefused } from "../lib/stdio.mjs";
import { until } from "../lib/wait.mjs";

const GRANT = "urn:ietf:params:oauth:grant-type:device_code";
const s = await service();
const tool = stdioServer(s.data);
after(() => Promise.all([s.end(), tool.end()]));
await tool.initialize();
const browser = await person(s);
const device = (more = {}) => register(s, { redirect_uris: [], grant_types: [GRANT, "refresh_token"], ...more });
const client = await device();
const endpoint = s.meta.device_authorization_endpoint;

async function start(of = client, more = {}, options) {
  const answer = await post(endpoint, { client_id: of.client_id, client_secret: of.client_secret, ...more }, options);
  remember("device code", answer.json?.device_code);
  return answer;
}
const poll = (started, of = client, more = {}, options) =>
  tokens(s, { grant_type: GRANT, device_code: started.device_code, client_id: of.client_id, client_secret: of.client_secret, ...more }, options);
/** Types a code on the page. */
async function typed(code, who = browser) {
  const page = await who.open(s.at("/device"));
  assert.equal(page.status, 200, page.text);
  return who.submit(page, { fill: { user_code: code }, press: /continue/i });
}
async function decide(code, press, who = browser) {
  const page = await typed(code, who);
  assert.equal(page.status, 200, visible(page.text));
  const answer = await who.submit(page, { press });
  assert.equal(answer.status, 200, visible(answer.text));
  return answer;
}

test("MET-07 the endpoint and the grant are advertised", () => {
  assert.equal(endpoint, s.at("/oauth/device_authorization"));
  assert.ok(s.meta.grant_types_supported.includes(GRANT));
});
test("RFC 8628 3.2 what a device is told", async () => {
  const { json } = await start();
  assert.match(json.user_code, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/);
  assert.ok(json.device_code.length >= 43 && json.expires_in > 0 && json.interval >= 5);
  assert.equal(json.verification_uri_complete, `${json.verification_uri}?user_code=${json.user_code}`);
  assert.ok(json.verification_uri.startsWith(s.issuer));
});
test("a yes opens a running stdio server, a revocation closes it", async () => {
  const { json } = await start(client, { scope: "mcp:tools:execute", resource: "urn:mcp:stdio:default" });
  refused(await poll(json), 400, "authorization_pending");
  const page = await browser.open(json.verification_uri_complete);
  assert.ok(page.text.includes(json.user_code), "the code is filled in");
  const asked = await browser.submit(page, { fill: {}, press: /continue/i });
  for (const word of ["another device", json.user_code, "mcp:tools:execute", "E2E"]) assert.ok(visible(asked.text).includes(word), word);
  await browser.submit(asked, { press: ALLOW });
  const got = await poll(json);
  assert.equal(got.status, 200, got.text);
  assert.equal(jwt(got.json.access_token).claims.sub, "ada");
  done(await tool.call("echo", { message: "m", access_token: got.json.access_token }));
  refused(await poll(json), 400, "invalid_grant");
  const next = await refresh(s, client, got.json.refresh_token);
  assert.equal(next.status, 200, next.text);
  assert.equal((await post(s.at("/oauth/revoke"), { token: next.json.refresh_token, client_id: client.client_id })).status, 200);
  toolRefused(await tool.call("echo", { message: "m", access_token: got.json.access_token }), "invalid_token");
});
test("a no is access_denied, and stays it", async () => {
  const { json } = await start();
  await decide(json.user_code, DENY);
  for (let n = 0; n < 2; n++) refused(await poll(json), 400, "access_denied");
  assert.equal((await typed(json.user_code)).status, 400);
});
test("who polls too fast is told to slow down, and gets the tokens all the same", async () => {
  const { json } = await start();
  refused(await poll(json), 400, "authorization_pending");
  for (let n = 0; n < 3; n++) refused(await poll(json), 400, "slow_down");
  await decide(json.user_code, ALLOW);
  assert.equal((await poll(json)).status, 200);
});
test("32 polls at once on an approved code: one set of tokens", async () => {
  const { json } = await start();
  await decide(json.user_code, ALLOW);
  const all = await Promise.all(Array.from({ length: 32 }, () => poll(json)));
  const won = all.filter((answer) => answer.status === 200);
  assert.equal(won.length, 1);
  for (const answer of all) if (answer.status !== 200) refused(answer, 400, "invalid_grant");
  done(await tool.call("echo", { message: "m", access_token: won[0].json.access_token }));
});
test("32 answers at once: one is taken", async () => {
  const { json } = await start();
  const page = await typed(json.user_code);
  const all = await Promise.all(Array.from({ length: 32 }, (_, n) => browser.submit(page, { press: n % 2 ? ALLOW : DENY })));
  assert.equal(all.filter((answer) => answer.status === 200).length, 1, all.map((answer) => answer.status).join());
  for (const answer of all) assert.ok(answer.status < 500, answer.text);
});
for (const [what, more, status, word] of [
  ["no client", { client_id: undefined }, 401, "invalid_client"], ["an unknown client", { client_id: "c_x" }, 401, "invalid_client"], ["a secret that it has not", { client_secret: "x" }, 401, "invalid_client"],
  ["an unknown scope", { scope: "nothing" }, 400, "invalid_scope"], ["a foreign resource", { resource: "https://other.example" }, 400, "invalid_target"], ["a resource that is none", { resource: "x y" }, 400, "invalid_target"],
]) test(`a device request with ${what}`, async () => refused(await start(client, more), status, word));
test("a device request with a repeated parameter, as text, by GET", async () => {
  refused(await post(endpoint, `client_id=${client.client_id}&scope=a&scope=b`), 400, "invalid_request");
  refused(await ask(endpoint, { method: "POST", body: "x", headers: { "content-type": "text/plain" } }), 400, "invalid_request");
  const answer = await get(endpoint);
  assert.deepEqual([answer.status, answer.headers.allow], [405, "POST"]);
  refused(await post(endpoint, `client_id=${client.client_id}&x=${"y".repeat(70_000)}`), 413, "invalid_request");
});
test("a client that did not register the grant", async () => {
  const plain = await register(s);
  refused(await start(plain), 400, "unauthorized_client");
  refused(await poll((await start()).json, plain), 400, "unauthorized_client");
});
test("C5 confidential clients authenticate at both endpoints", async () => {
  const secret = await device({ token_endpoint_auth_method: "client_secret_basic" });
  const none = { client_id: undefined, client_secret: undefined };
  refused(await start(secret, { client_secret: undefined }), 401, "invalid_client");
  const wrong = await start(secret, none, { headers: basic(secret.client_id, "wrong") });
  refused(wrong, 401, "invalid_client");
  assert.match(wrong.headers["www-authenticate"], /^Basic/);
  const { json } = await start(secret, none, { headers: basic(secret.client_id, secret.client_secret) });
  await decide(json.user_code, ALLOW);
  refused(await poll(json, secret, { client_secret: undefined }), 401, "invalid_client");
  refused(await poll(json), 400, "invalid_grant");
  assert.equal((await poll(json, secret, none, { headers: basic(secret.client_id, secret.client_secret) })).status, 200);
});
test("C5 a client that signs", async () => {
  const key = pair("ES256");
  const signing = await signer(s, [key], { redirect_uris: [], grant_types: [GRANT] });
  const proof = () => asserting(assertion(key, signing, s.issuer));
  refused(await start(signing), 401, "invalid_client");
  const { json } = await start(signing, proof());
  await decide(json.user_code, ALLOW);
  refused(await poll(json, signing), 401, "invalid_client");
  const got = await poll(json, signing, proof());
  assert.equal(got.status, 200, got.text);
  assert.equal(got.json.refresh_token, undefined, "it did not register refresh_token");
});
test("C9 a device code: 9 KiB", async () => refused(await poll({ device_code: "x".repeat(9 * 1024) }), 400, "invalid_request"));
for (const [what, code] of Object.entries({ garbage: "garbage", "8 KiB": "x".repeat(8 * 1024), "a NUL": "a\u0000b", "of our form": "A".repeat(43), unicode: "🦀".repeat(9) })) {
  test(`a device code: ${what}`, async () => refused(await poll({ device_code: code }), 400, "invalid_grant"));
}
test("no device code", async () => {
  refused(await poll({}), 400, "invalid_request");
  refused(await poll({ device_code: "" }), 400, "invalid_request");
});
test("the user code is no device code, the device code no code and no refresh token", async () => {
  const { json } = await start();
  refused(await poll({ device_code: json.user_code }), 400, "invalid_grant");
  refused(await refresh(s, client, json.device_code), 400, "invalid_grant");
  assert.equal((await typed(json.device_code)).status, 400);
});
for (const code of ["", "x", "BBBB-BBBB", "<script>alert(1)</script>", "' OR 1=1 --", "B".repeat(5000), "🦀🦀🦀🦀", "\u202eBBBB"]) {
  test(`UI-13 a typed code ${JSON.stringify(code.slice(0, 30))}`, async () => {
    const page = await typed(code);
    assert.equal(page.status, 400);
    assert.ok(!page.text.includes("<script>"));
  });
}
test("UI-03 the page cannot be answered from elsewhere", async () => {
  const { json } = await start();
  const page = await typed(json.user_code);
  const other = await person(s);
  for (const [who, edit, headers] of [
    [other, (f) => f, {}],
    [browser, (f) => f.filter(([name]) => name !== "csrf"), {}],
    [browser, (f) => f.map(([name, value]) => [name, name === "transaction" ? `${value}A` : value]), {}],
    [browser, (f) => f, { origin: "https://evil.example" }],
  ]) assert.equal((await who.submit(page, { press: ALLOW, edit, headers })).status, 403);
  refused(await poll(json), 400, "authorization_pending");
});
test("a stranger is asked to sign in, and the code is kept", async () => {
  const { json } = await start();
  const fresh = new Browser(s.url);
  const page = await fresh.open(json.verification_uri_complete);
  const back = await logIn(fresh, page, "ada");
  assert.equal(back.status, 200);
  assert.ok(back.text.includes(json.user_code));
});
test("UI-12 a hostile client name is harmless on the page", async () => {
  const hostile = await device({ client_name: '<img src=x onerror=alert(1)>"&\u202eevil' });
  const page = await typed((await start(hostile)).json.user_code);
  assert.ok(!page.text.includes("<img") && !page.text.includes("\u202e"));
});
test("wrong codes are counted, per person and address", async () => {
  const strict = await service({ limits: true });
  try {
    const who = await person(strict);
    const tryCode = async () => who.submit(await who.open(strict.at("/device")), { fill: { user_code: "BBBB-BBBB" }, press: /continue/i });
    const seen = [];
    for (let n = 0; n < 8; n++) seen.push(await tryCode());
    assert.deepEqual(seen.slice(0, 6).map((answer) => answer.status), [400, 400, 400, 400, 400, 429]);
    const last = seen.at(-1);
    assert.equal(last.status, 429);
    assert.ok(Number(last.headers["retry-after"]) > 0);
  } finally {
    await strict.end();
  }
});
/** Runs `mcp-client login --device`; `person` gets the code that it shows. */
async function logInByCode(store, person, ...more) {
  const env = { MCP_AUTHZ_ISSUER: s.url, MCP_AUTHZ_DATA: s.data, HOME: store };
  const run = launch("mcp-client", ["login", "--store", store, "--device", ...more], { env });
  const code = await until("the code", () => /type the code {2}(\S+)/.exec(run.stderr)?.[1] ?? (run.code !== undefined && run));
  assert.equal(typeof code, "string", code.stderr);
  await person(code);
  await until("mcp-client to end", () => run.code !== undefined, 30_000);
  return run;
}
test("mcp-client login --device: a yes logs in, and the tool opens", async () => {
  const store = tempFolder("vault");
  const run = await logInByCode(store, (code) => decide(code, ALLOW), "--timeout=60");
  assert.equal(run.code, 0, run.stderr);
  const called = runToEnd("mcp-client", ["call", "--store", store, "echo", "--args", '{"message":"hi"}', "--json"], { env: { MCP_AUTHZ_ISSUER: s.url, MCP_AUTHZ_DATA: s.data, HOME: store } });
  assert.equal(called.code, 0, called.stderr);
  assert.match(called.stdout, /"authorized":\s*true/);
});
test("mcp-client login --device: a no ends it with 4, nobody at all with 3", async () => {
  const [denied, late] = await Promise.all([
    logInByCode(tempFolder("vault"), (code) => decide(code, DENY)),
    logInByCode(tempFolder("vault"), () => undefined, "--timeout=1"),
  ]);
  assert.deepEqual([denied.code, late.code], [4, 3], denied.stderr + late.stderr);
});
test("C1 C15 the service lives, and has written down no code", () => s.assertWell());
