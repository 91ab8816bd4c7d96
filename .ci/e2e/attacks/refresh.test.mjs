// REF and REV: refresh tokens, and giving tokens back.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { RESOURCE, SCOPES, basic, codeFor, jwt, login, person, redeem, refresh, refused, register } from "../lib/flow.mjs";
import { ask, post, postJson } from "../lib/http.mjs";
import { runToEnd } from "../lib/programs.mjs";
import { service } from "../lib/service.mjs";
import { done, stdioServer, toolRefused } from "../lib/stdio.mjs";

const s = await service({ users: ["ada", "bob"] });
const tool = stdioServer(s.data);
after(() => Promise.all([s.end(), tool.end()]));
await tool.initialize();
const browser = await person(s);
const open = await register(s);
const secret = await register(s, { token_endpoint_auth_method: "client_secret_basic" });
const works = async (token) => done(await tool.call("echo", { message: "m", access_token: token }));
const dead = async (token) => toolRefused(await tool.call("echo", { message: "m", access_token: token }), "invalid_token");

test("REF-01 first use: a new access token and a new refresh token", async () => {
  const first = await login(s, browser, open);
  const second = await refresh(s, open, first.refresh_token);
  assert.equal(second.status, 200, second.text);
  assert.notEqual(second.json.refresh_token, first.refresh_token);
  assert.notEqual(second.json.access_token, first.access_token);
  await works(second.json.access_token);
  assert.equal(jwt(second.json.access_token).claims.scope, jwt(first.access_token).claims.scope);
});
test("REF-02 a spent token after its successor was used kills the family", async () => {
  const first = await login(s, browser, open);
  const second = (await refresh(s, open, first.refresh_token)).json;
  const third = (await refresh(s, open, second.refresh_token)).json;
  refused(await refresh(s, open, first.refresh_token), 400, "invalid_grant");
  refused(await refresh(s, open, third.refresh_token), 400, "invalid_grant");
  for (const one of [first, second, third]) await dead(one.access_token);
});
test("REF-03 REF-11 a repeat while the successor is unused gives one live lineage", async () => {
  const first = await login(s, browser, open);
  const lost = (await refresh(s, open, first.refresh_token)).json;
  const again = await refresh(s, open, first.refresh_token);
  assert.equal(again.status, 200, again.text);
  const next = await refresh(s, open, again.json.refresh_token);
  assert.equal(next.status, 200, next.text);
  if (again.json.refresh_token !== lost.refresh_token) refused(await refresh(s, open, lost.refresh_token), 400, "invalid_grant");
});
test("REF-02 REF-03 the audit log says why a repeat was forgiven, and what ended a family", async () => {
  const events = () => runToEnd("authz-service", ["audit", "export", "--data", s.data]).stdout.trim().split("\n").map((line) => JSON.parse(line));
  const before = events().length;
  const first = await login(s, browser, open);
  const second = (await refresh(s, open, first.refresh_token)).json;
  assert.equal((await refresh(s, open, first.refresh_token)).status, 200);
  const third = await refresh(s, open, second.refresh_token);
  refused(await refresh(s, open, first.refresh_token), 400, "invalid_grant");
  const told = events().slice(before);
  const [repeated, revoked] = ["token-refresh-repeated", "grant-revoked"].map((what) => told.filter((event) => event.what === what));
  assert.equal(third.status, 200);
  assert.deepEqual([repeated.length, revoked.length], [1, 1], JSON.stringify(told));
  assert.match(repeated[0].detail, /a spent token came back in time, its successor is unused/);
  assert.match(revoked[0].detail, /a spent refresh token came back/);
  assert.deepEqual([repeated[0].grant, repeated[0].client], [revoked[0].grant, open.client_id]);
});
test("F-18 eight at once obey C7, ten rounds", async () => {
  for (let round = 0; round < 10; round += 1) {
    const first = await login(s, browser, open);
    const all = await Promise.all(Array.from({ length: 8 }, () => refresh(s, open, first.refresh_token)));
    const good = all.filter((answer) => answer.status === 200);
    assert.ok(good.length >= 1);
    for (const answer of all) if (answer.status !== 200) refused(answer, 400, "invalid_grant");
    const distinct = [...new Set(good.map((answer) => answer.json.refresh_token))];
    const next = [];
    for (const token of distinct) next.push(await refresh(s, open, token));
    assert.equal(next.filter((answer) => answer.status === 200).length, 1, "exactly one lineage lives");
  }
});
test("REF-04 another client's refresh token", async () => {
  const first = await login(s, browser, open);
  refused(await refresh(s, await register(s), first.refresh_token), 400, "invalid_grant");
  refused(await refresh(s, { client_id: secret.client_id }, first.refresh_token, { client_id: undefined }, { headers: basic(secret.client_id, secret.client_secret) }), 400, "invalid_grant");
  assert.equal((await refresh(s, open, first.refresh_token)).status, 200, "not affected");
});
test("REF-04 a foreign replay of a spent token kills nothing", async () => {
  const first = await login(s, browser, open);
  const second = (await refresh(s, open, first.refresh_token)).json;
  const third = (await refresh(s, open, second.refresh_token)).json;
  refused(await refresh(s, await register(s), first.refresh_token), 400, "invalid_grant");
  await works(third.access_token);
});
for (const scope of ["mcp:tools:read mcp:tools:execute mcp:resources", "mcp:resources", "admin", "mcp:tools:read admin", 'a"b']) {
  test(`REF-05 scope ${scope}`, async () => {
    const first = await login(s, browser, open, { scope: "mcp:tools:read" });
    refused(await refresh(s, open, first.refresh_token, { scope }), 400, "invalid_scope");
    assert.equal((await refresh(s, open, first.refresh_token)).status, 200, "not spent");
  });
}
test("REF-06 a smaller scope, and the whole one again later", async () => {
  const first = await login(s, browser, open, { scope: SCOPES });
  const small = (await refresh(s, open, first.refresh_token, { scope: "mcp:tools:read" })).json;
  assert.equal(jwt(small.access_token).claims.scope, "mcp:tools:read");
  assert.equal(small.scope, "mcp:tools:read");
  toolRefused(await tool.call("echo", { message: "m", access_token: small.access_token }), "insufficient_scope");
  const whole = await refresh(s, open, small.refresh_token, { scope: SCOPES });
  assert.equal(whole.status, 200, whole.text);
  await works(whole.json.access_token);
});
test("REF-09 a client without the grant type", async () => {
  const poor = await register(s, { grant_types: ["authorization_code"] });
  const got = await redeem(s, poor, await codeFor(s, browser, poor));
  assert.equal(got.json.refresh_token, undefined);
  const first = await login(s, browser, open);
  refused(await refresh(s, poor, first.refresh_token), 400, "invalid_grant", "unauthorized_client");
});
for (const resource of ["urn:mcp:stdio:other", "https://evil.example/", "x"]) {
  test(`REF-10 resource ${resource}`, async () => {
    const first = await login(s, browser, open);
    refused(await refresh(s, open, first.refresh_token, { resource }), 400, "invalid_target");
    assert.equal((await refresh(s, open, first.refresh_token, { resource: RESOURCE })).status, 200, "not spent");
  });
}
test("REF-13 a confidential client without, or with a wrong secret", async () => {
  const held = await codeFor(s, browser, secret);
  const headers = basic(secret.client_id, secret.client_secret);
  const first = (await redeem(s, secret, held, { client_id: undefined, client_secret: undefined }, { headers })).json;
  const bare = { client_secret: undefined };
  refused(await refresh(s, secret, first.refresh_token, bare), 401, "invalid_client");
  refused(await refresh(s, secret, first.refresh_token, { ...bare, client_id: undefined }, { headers: basic(secret.client_id, "wrong") }), 401, "invalid_client");
  assert.equal((await refresh(s, secret, first.refresh_token, { ...bare, client_id: undefined }, { headers })).status, 200, "not spent");
});
for (const [what, make] of Object.entries({ "garbage": () => "garbage", "empty": () => "", "missing": () => undefined, "an access token": (t) => t.access_token, "a code": (t) => t.held.code, "9 KiB": () => "x".repeat(9 * 1024), "a prefix": (t) => t.refresh_token.slice(0, -1), "with a tail": (t) => `${t.refresh_token}A`, "in another case": (t) => t.refresh_token.toUpperCase(), "with space": (t) => ` ${t.refresh_token}` })) {
  test(`REF JWT-14 a refresh token that is ${what}`, async () => {
    const first = await login(s, browser, open);
    refused(await refresh(s, open, make(first)), 400, "invalid_grant", "invalid_request");
    assert.equal((await refresh(s, open, first.refresh_token)).status, 200, "the real one is not affected");
  });
}
test("REF twice in one form, and by JSON", async () => {
  const first = await login(s, browser, open);
  refused(await post(s.at("/oauth/token"), [["grant_type", "refresh_token"], ["client_id", open.client_id], ["refresh_token", first.refresh_token], ["refresh_token", first.refresh_token]]), 400, "invalid_request");
  const answer = await postJson(s.at("/oauth/token"), { grant_type: "refresh_token", client_id: open.client_id, refresh_token: first.refresh_token });
  assert.equal(answer.status, 200, answer.text);
});
test("F-19 an answer that was lost in a kill -9 can be had again", async () => {
  const mine = await service();
  const who = await person(mine);
  const app = await register(mine);
  const first = await login(mine, who, app);
  const second = (await refresh(mine, app, first.refresh_token)).json;
  await mine.end("SIGKILL").catch(() => {});
  const after = await service({ data: mine.data, port: mine.port, users: [] });
  try {
    assert.equal((await refresh(after, app, second.refresh_token)).status, 200, "what was answered is durable");
  } finally {
    await after.end();
  }
});

const revoke = (fields, options) => post(s.meta.revocation_endpoint, fields, options);
const skip = s.meta.revocation_endpoint ? false : "no revocation endpoint is advertised";
test("REV-01 REV-07 own access token", { skip }, async () => {
  const got = await login(s, browser, open);
  await works(got.access_token);
  assert.equal((await revoke({ token: got.access_token, client_id: open.client_id })).status, 200);
  await dead(got.access_token);
  assert.equal((await refresh(s, open, got.refresh_token)).status, 200, "the refresh token is unaffected");
});
test("REV-02 REV-07 own refresh token", { skip }, async () => {
  const got = await login(s, browser, open);
  assert.equal((await revoke({ token: got.refresh_token, client_id: open.client_id, token_type_hint: "refresh_token" })).status, 200);
  await dead(got.access_token);
  refused(await refresh(s, open, got.refresh_token), 400, "invalid_grant");
});
test("REV-03 REV-06 unknown, twice, wrong hint", { skip }, async () => {
  const got = await login(s, browser, open);
  for (const token of ["garbage", "a.b.c", "x".repeat(4000), got.held.code]) assert.equal((await revoke({ token, client_id: open.client_id })).status, 200, token.slice(0, 20));
  await works(got.access_token);
  for (let i = 0; i < 2; i += 1) assert.equal((await revoke({ token: got.refresh_token, client_id: open.client_id, token_type_hint: "access_token" })).status, 200);
  await dead(got.access_token);
});
test("REV-04 no token", { skip }, async () => {
  refused(await revoke({ client_id: open.client_id }), 400, "invalid_request");
  refused(await revoke({ client_id: open.client_id, token: "" }), 400, "invalid_request");
});
test("REV-05 C5 foreign tokens, and clients that do not prove themselves", { skip }, async () => {
  const got = await login(s, browser, open);
  const other = await register(s);
  for (const token of [got.access_token, got.refresh_token]) {
    await revoke({ token, client_id: other.client_id });
    refused(await revoke({ token }), [400, 401], "invalid_client", "invalid_request");
    refused(await revoke({ token, client_id: secret.client_id }), 401, "invalid_client");
    refused(await revoke({ token, client_id: "c_x" }), 401, "invalid_client");
  }
  await works(got.access_token);
  assert.equal((await refresh(s, open, got.refresh_token)).status, 200);
});
test("REV-05 a token with one byte changed, or with alg none, revokes nothing", { skip }, async () => {
  const got = await login(s, browser, open);
  const [h, p, sig] = got.access_token.split(".");
  const none = Buffer.from(JSON.stringify({ alg: "none", typ: "at+jwt" })).toString("base64url");
  for (const token of [`${none}.${p}.`, `${h}.${p}.${sig.replace(/^./, (c) => (c === "A" ? "B" : "A"))}`, `${h}.${p}.`]) await revoke({ token, client_id: open.client_id });
  await works(got.access_token);
});
test("REV GET is no revocation", { skip }, async () => {
  const got = await login(s, browser, open);
  const answer = await ask(`${s.meta.revocation_endpoint}?token=${got.access_token}&client_id=${open.client_id}`);
  assert.equal(answer.status, 405);
  await works(got.access_token);
});
test("C15 after all of this both live, and wrote down no secret", async () => {
  await s.assertWell();
  await tool.assertWell();
});
