// The main path in small steps: register, authorize as a person, exchange, refresh.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { post, postJson, withQuery } from "./http.mjs";
import { Browser, loginFields, visible } from "./page.mjs";
import { remember } from "./secrets.mjs";
import { PASSWORD } from "./service.mjs";

export const RESOURCE = "urn:mcp:stdio:default";
export const CALLBACK = "http://127.0.0.1:7777/cb";
export const SCOPES = "mcp:tools:read mcp:tools:execute";
export const ALLOW = /^(allow|approve|yes)/i;
export const DENY = /^(deny|cancel|refuse|no|don.t)/i;

/** A verifier and its challenge (RFC 7636). */
export function pkce(verifier = randomBytes(32).toString("base64url")) {
  remember("verifier", verifier);
  return { verifier, challenge: createHash("sha256").update(verifier).digest("base64url") };
}

/** Registers a client; public unless said otherwise. Gives back what the service answered. */
export async function register(service, metadata = {}, options) {
  const body = { client_name: "E2E", redirect_uris: [CALLBACK], token_endpoint_auth_method: "none", grant_types: ["authorization_code", "refresh_token"], ...metadata };
  const answer = await postJson(service.at("/register"), body, options);
  assert.equal(answer.status, 201, answer.text);
  remember("client secret", answer.json.client_secret);
  return answer.json;
}

/** The parameters of a usual authorization request. An undefined value leaves a parameter out. */
export const request = (client, proof, more = {}) => ({
  response_type: "code",
  client_id: client.client_id,
  redirect_uri: client.redirect_uris?.[0] ?? CALLBACK,
  code_challenge: proof?.challenge,
  code_challenge_method: proof ? "S256" : undefined,
  state: "s-123",
  scope: SCOPES,
  resource: RESOURCE,
  ...more,
});

/** A browser in which `user` is logged in. */
export async function person(service, user = "ada", password = PASSWORD) {
  const browser = new Browser(service.url);
  const client = await register(service);
  const page = await browser.open(withQuery(service.at("/oauth/authorize"), request(client, pkce())));
  await logIn(browser, page, user, password);
  browser.user = user;
  return browser;
}

/** Fills in the login page. */
export async function logIn(browser, page, user, password = PASSWORD) {
  const names = loginFields(page);
  assert.ok(names, `a login page, not ${page.status} ${visible(page.text ?? "").slice(0, 300)}`);
  remember("password", password);
  return browser.submit(page, { fill: { [names.user]: user, [names.password[0]]: password } });
}

/** Opens an authorization URL as a logged-in person; the consent page, a redirect or an error page. */
export const authorize = (service, browser, fields, options) => browser.open(withQuery(service.at("/oauth/authorize"), fields), options);

/** The parameters of a redirect to a client. */
export function redirected(answer, to = CALLBACK) {
  assert.ok([302, 303].includes(answer.status), `a redirect, not ${answer.status}: ${visible(answer.text).slice(0, 300)}`);
  assert.ok(answer.location.startsWith(to), `to ${to}, not ${answer.location}`);
  const found = new URL(answer.location).searchParams;
  remember("code", found.get("code"));
  return found;
}

/** Says yes on the consent page. */
export async function allow(service, browser, fields, to) {
  const page = await authorize(service, browser, fields);
  const answer = await browser.submit(page, { press: ALLOW, follow: false });
  return redirected(answer, to);
}

/** A code for a client, and the verifier that redeems it. */
export async function codeFor(service, browser, client, more = {}) {
  const proof = pkce();
  const found = await allow(service, browser, request(client, proof, more), more.redirect_uri ?? client.redirect_uris[0]);
  assert.ok(found.get("code"), `a code, not ${found}`);
  return { code: found.get("code"), verifier: proof.verifier, redirect_uri: more.redirect_uri ?? client.redirect_uris[0] };
}

/** POST to the token endpoint; every token in the answer is remembered. */
export async function tokens(service, fields, options) {
  const answer = await post(service.at("/oauth/token"), fields, options);
  remember("access token", answer.json?.access_token);
  remember("refresh token", answer.json?.refresh_token);
  return answer;
}

/** The body that redeems a code. */
export const redemption = (client, held, more = {}) => ({
  grant_type: "authorization_code",
  code: held.code,
  redirect_uri: held.redirect_uri,
  client_id: client.client_id,
  client_secret: client.client_secret,
  code_verifier: held.verifier,
  ...more,
});

/** Redeems a code. */
export const redeem = (service, client, held, more, options) => tokens(service, redemption(client, held, more), options);

/** Exchanges a refresh token. */
export const refresh = (service, client, token, more = {}, options) =>
  tokens(service, { grant_type: "refresh_token", refresh_token: token, client_id: client.client_id, client_secret: client.client_secret, ...more }, options);

/** The whole path: tokens for a person and a client. */
export async function login(service, browser, client, more) {
  const held = await codeFor(service, browser, client, more);
  const answer = await redeem(service, client, held);
  assert.equal(answer.status, 200, answer.text);
  return { ...answer.json, held };
}

/** HTTP Basic with both halves form-encoded first (RFC 6749 section 2.3.1). */
export function basic(id, secret, scheme = "Basic") {
  const encode = (text) => new URLSearchParams({ v: text }).toString().slice(2);
  return { authorization: `${scheme} ${Buffer.from(`${encode(id)}:${encode(secret)}`).toString("base64")}` };
}

/** Expects a refusal with one of these words. */
export function refused(answer, status, ...words) {
  assert.ok([status].flat().includes(answer.status), `${status}, not ${answer.status}: ${answer.text.slice(0, 300)}`);
  assert.ok(answer.json, `JSON, not ${answer.type}: ${answer.text.slice(0, 200)}`);
  assert.ok(words.includes(answer.json.error), `${words}, not ${answer.text}`);
  assert.equal(answer.json.access_token, undefined);
  return answer;
}

/** The parts of a JWT. */
export const jwt = (token) => {
  const [header, payload] = token.split(".").map((part) => part && Buffer.from(part, "base64url"));
  return { header: JSON.parse(header), claims: JSON.parse(payload) };
};
