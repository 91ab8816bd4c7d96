// Pushed authorization requests (RFC 9126) through the real program.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { asserting, assertion, pair, signer } from "../lib/assertion.mjs";
import { ALLOW, CALLBACK, DENY, authorize, basic, jwt, logIn, person, pkce, redeem, redirected, refused, register, request } from "../lib/flow.mjs";
import { ask, get, post, postJson, withQuery } from "../lib/http.mjs";
import { Browser, visible } from "../lib/page.mjs";
import { remember } from "../lib/secrets.mjs";
import { service } from "../lib/service.mjs";

const s = await service();
const twin = await service({ data: s.data, users: [], args: ["--issuer", s.issuer] });
after(() => Promise.all([s.end(), twin.end()]));
const browser = await person(s);
const open = await register(s);
const endpoint = s.meta.pushed_authorization_request_endpoint;

async function push(client = open, more = {}, options, at = endpoint) {
  const proof = pkce();
  const answer = await post(at, { ...request(client, proof), client_secret: client.client_secret, ...more }, options);
  remember("request_uri", answer.json?.request_uri);
  return { ...answer, verifier: proof.verifier };
}
const named = (client, uri, more = {}) => ({ client_id: client.client_id, request_uri: uri, ...more });
/** Opens a pushed request in the browser and presses a button. */
async function decide(client, uri, press = ALLOW, more) {
  const page = await authorize(s, browser, named(client, uri, more));
  assert.equal(page.status, 200, visible(page.text));
  return redirected(await browser.submit(page, { press, follow: false }), client.redirect_uris[0]);
}
const notTaken = async (client, uri, more) => {
  const page = await authorize(s, browser, named(client, uri, more));
  assert.equal(page.status, 400, visible(page.text));
  assert.equal(page.location, undefined);
};

test("MET-07 the endpoint is advertised, and pushing is not required", () => {
  assert.equal(endpoint, s.at("/oauth/par"));
  assert.ok(!s.meta.require_pushed_authorization_requests);
});
test("a pushed request leads to tokens, once", async () => {
  const pushed = await push();
  assert.equal(pushed.status, 201, pushed.text);
  assert.match(pushed.json.request_uri, /^urn:ietf:params:oauth:request_uri:\S{22,}$/);
  assert.ok(pushed.json.expires_in >= 5 && pushed.json.expires_in <= 600);
  assert.equal(pushed.headers["cache-control"], "no-store");
  const found = await decide(open, pushed.json.request_uri);
  assert.equal(found.get("state"), "s-123");
  assert.equal(found.get("iss"), s.issuer);
  const answer = await redeem(s, open, { code: found.get("code"), verifier: pushed.verifier, redirect_uri: CALLBACK });
  assert.equal(answer.status, 200, answer.text);
  await notTaken(open, pushed.json.request_uri);
});
test("what the browser says beside it does not count", async () => {
  const pushed = await push(open, { scope: "mcp:tools:read" });
  const more = { scope: "mcp:tools:execute", redirect_uri: "https://evil.example/", state: "x", code_challenge: pkce().challenge, resource: "urn:mcp:stdio:other", response_type: "token" };
  const found = await decide(open, pushed.json.request_uri, ALLOW, more);
  assert.equal(found.get("state"), "s-123");
  const answer = await redeem(s, open, { code: found.get("code"), verifier: pushed.verifier, redirect_uri: CALLBACK });
  assert.equal(jwt(answer.json.access_token).claims.scope, "mcp:tools:read");
});
test("a no ends it too", async () => {
  const { json } = await push();
  assert.equal((await decide(open, json.request_uri, DENY)).get("error"), "access_denied");
  await notTaken(open, json.request_uri);
});
test("another client's, cut, bent and foreign names", async () => {
  const { json } = await push();
  await notTaken(await register(s), json.request_uri);
  for (const uri of [json.request_uri.slice(0, -1), `${json.request_uri}A`, json.request_uri.toUpperCase(), "urn:ietf:params:oauth:request_uri:", "urn:x", "https://client.example/request.jwt", "file:///etc/passwd", "http://169.254.169.254/", "x".repeat(5000)]) await notTaken(open, uri);
  const twice = `${withQuery(s.at("/oauth/authorize"), named(open, json.request_uri))}&request_uri=x`;
  assert.equal((await browser.open(twice)).status, 400);
  assert.equal((await authorize(s, browser, { request_uri: json.request_uri })).status, 400, "client_id is required");
  await decide(open, json.request_uri);
});
test("a name from one service is good at another on the same store", async () => {
  const pushed = await push(open, {}, undefined, twin.at("/oauth/par"));
  assert.ok((await decide(open, pushed.json.request_uri)).get("code"));
});
test("16 answers at once: one code", async () => {
  const { json } = await push();
  const pages = await Promise.all(Array.from({ length: 16 }, () => authorize(s, browser, named(open, json.request_uri))));
  const all = await Promise.all(pages.map((page) => browser.submit(page, { press: ALLOW, follow: false })));
  assert.equal(all.filter((answer) => answer.status === 303 && new URL(answer.location).searchParams.get("code")).length, 1);
  for (const answer of all) assert.ok(answer.status < 500, answer.text);
});
test("a stranger signs in on the way", async () => {
  const { json } = await push();
  const fresh = new Browser(s.url);
  const page = await fresh.open(withQuery(s.at("/oauth/authorize"), named(open, json.request_uri)));
  const back = await logIn(fresh, page, "ada");
  assert.equal(back.status, 200, visible(back.text));
  assert.ok(redirected(await fresh.submit(back, { press: ALLOW, follow: false })).get("code"));
});
for (const [what, more, status, word] of [
  ["a foreign redirect URI", { redirect_uri: "https://evil.example/" }, 400, "invalid_request"], ["no PKCE", { code_challenge: undefined, code_challenge_method: undefined }, 400, "invalid_request"], ["plain PKCE", { code_challenge_method: "plain" }, 400, "invalid_request"],
  ["another response type", { response_type: "token" }, 400, "unsupported_response_type"], ["no response type", { response_type: undefined }, 400, "invalid_request"], ["an unknown scope", { scope: "nothing" }, 400, "invalid_scope"], ["a foreign resource", { resource: "https://other.example" }, 400, "invalid_target"],
  ["a request_uri", { request_uri: "urn:ietf:params:oauth:request_uri:x" }, 400, "invalid_request"], ["a state of 5 KiB", { state: "x".repeat(5 * 1024) }, 400, "invalid_request"], ["9 KiB", { x: "y".repeat(9 * 1024) }, 400, "invalid_request"],
  ["no client", { client_id: undefined }, 401, "invalid_client"], ["an unknown client", { client_id: "c_x" }, 401, "invalid_client"], ["a secret that it has not", { client_secret: "x" }, 401, "invalid_client"],
]) test(`RFC 9126 2.1 a push with ${what}`, async () => refused(await push(open, more), status, word));
test("a push with repeated parameters, two resources, as JSON, as text, by GET, too large", async () => {
  refused(await post(endpoint, `client_id=${open.client_id}&state=a&state=b`), 400, "invalid_request");
  refused(await push(open, {}, {}).then(() => post(endpoint, `${new URLSearchParams(Object.entries(request(open, pkce())))}&resource=urn:mcp:stdio:other`)), 400, "invalid_target");
  refused(await postJson(endpoint, request(open, pkce())), 400, "invalid_request");
  refused(await ask(endpoint, { method: "POST", body: "x" }), 400, "invalid_request");
  refused(await post(endpoint, `client_id=${open.client_id}&x=${"y".repeat(70_000)}`), 413, "invalid_request");
  const answer = await get(endpoint);
  assert.deepEqual([answer.status, answer.headers.allow], [405, "POST"]);
});
test("C5 confidential clients authenticate, and nothing of it is kept or carried", async () => {
  const withBasic = await register(s, { token_endpoint_auth_method: "client_secret_basic" });
  const none = { client_id: undefined, client_secret: undefined };
  refused(await push(withBasic, { client_secret: undefined }), 401, "invalid_client");
  const wrong = await push(withBasic, none, { headers: basic(withBasic.client_id, "wrong") });
  refused(wrong, 401, "invalid_client");
  assert.match(wrong.headers["www-authenticate"], /^Basic/);
  const right = await push(withBasic, none, { headers: basic(withBasic.client_id, withBasic.client_secret) });
  assert.equal(right.status, 201, right.text);
  assert.ok((await decide(withBasic, right.json.request_uri)).get("code"));
  const withPost = await register(s, { token_endpoint_auth_method: "client_secret_post" });
  refused(await push(withPost, { client_secret: "wrong" }), 401, "invalid_client");
  const posted = await push(withPost);
  assert.ok((await decide(withPost, posted.json.request_uri)).get("code"));
  const key = pair("EdDSA");
  const signing = await signer(s, [key]);
  const once = asserting(assertion(key, signing, s.issuer));
  const signed = await push(signing, once);
  assert.equal(signed.status, 201, signed.text);
  refused(await push(signing, once), 401, "invalid_client");
  assert.ok((await decide(signing, signed.json.request_uri)).get("code"));
});
test("--require-par takes nothing else", async () => {
  const strict = await service({ args: ["--require-par"] });
  try {
    assert.equal(strict.meta.require_pushed_authorization_requests, true);
    const client = await register(strict);
    const page = await get(withQuery(strict.at("/oauth/authorize"), request(client, pkce())));
    assert.equal(page.status, 400);
    const pushed = await post(strict.meta.pushed_authorization_request_endpoint, request(client, pkce()));
    const shown = await get(withQuery(strict.at("/oauth/authorize"), named(client, pushed.json.request_uri)));
    assert.equal(shown.status, 200, "the login page");
  } finally {
    await strict.end();
  }
});
test("C1 C15 the services live, and have written down no secret", async () => {
  await s.assertWell();
  await twin.assertWell();
});
