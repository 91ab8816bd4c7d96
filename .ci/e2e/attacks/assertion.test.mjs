// Client authentication by signature: private_key_jwt (RFC 7523, RFC 8725), at every endpoint that authenticates clients.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, test } from "node:test";
import { JWT_BEARER, asserting, assertion, pair, signer } from "../lib/assertion.mjs";
import { basic, codeFor, jwt, login, person, redeem, refresh, refused, register } from "../lib/flow.mjs";
import { encode } from "../lib/forge.mjs";
import { post, postJson } from "../lib/http.mjs";
import { service } from "../lib/service.mjs";

const s = await service();
const twin = await service({ data: s.data, users: [], args: ["--issuer", s.issuer] });
after(() => Promise.all([s.end(), twin.end()]));
const browser = await person(s);
const keys = Object.fromEntries(["ES256", "EdDSA", "RS256", "PS256"].map((alg) => [alg, pair(alg)]));
const client = await signer(s, Object.values(keys));
const other = await signer(s, [pair("ES256")]);
const now = () => Math.floor(Date.now() / 1000);
const sure = (claims, header, key = keys.ES256) => assertion(key, client, s.issuer, claims, header);

/** A fresh code is tried with this proof, which fails, and then redeemed with a good one. */
async function fails(proof, word = "invalid_client", status = 401, options) {
  const held = await codeFor(s, browser, client);
  const answer = await redeem(s, client, held, { client_secret: undefined, ...proof }, options);
  refused(answer, status, word);
  const right = await redeem(s, client, held, asserting(sure()));
  assert.equal(right.status, 200, `the code was not spent: ${right.text}`);
  return answer;
}

test("a registration keeps the keys and gives no secret", () => {
  assert.equal(client.client_secret, undefined);
  assert.equal(client.token_endpoint_auth_method, "private_key_jwt");
  assert.equal(client.jwks.keys.length, 4);
});
for (const [what, more] of Object.entries({
  "no keys": { jwks: undefined }, "an empty set": { jwks: { keys: [] } }, "no list": { jwks: { keys: 7 } }, "a symmetric key": { jwks: { keys: [{ kty: "oct", k: "AAAA" }] } },
  "a private key": { jwks: { keys: [{ ...keys.ES256.jwk, d: "AAAA" }] } }, "a short RSA key": { jwks: { keys: [{ kty: "RSA", n: "AQAB", e: "AQAB" }] } }, "a key for encryption": { jwks: { keys: [{ ...keys.ES256.jwk, use: "enc" }] } },
  "keys by value and by reference": { jwks: { keys: [keys.ES256.jwk] }, jwks_uri: "https://keys.example/jwks" },
})) {
  test(`REG-14 REG-15 registration with ${what}`, async () => {
    const body = { client_name: "E2E", redirect_uris: ["http://127.0.0.1:7777/cb"], token_endpoint_auth_method: "private_key_jwt", ...more };
    refused(await postJson(s.at("/register"), body), 400, "invalid_client_metadata");
  });
}
test("MET-07 what is advertised is what works", () => {
  for (const at of ["token", "revocation", "introspection"]) {
    assert.ok(s.meta[`${at}_endpoint_auth_methods_supported`].includes("private_key_jwt"), at);
    assert.deepEqual(s.meta[`${at}_endpoint_auth_signing_alg_values_supported`].toSorted(), Object.keys(keys).toSorted());
  }
});
for (const [alg, key] of Object.entries(keys)) {
  test(`C5 ${alg} authenticates, with and without client_id, kid and the newer typ`, async () => {
    for (const [more, header] of [[{}, {}], [{ client_id: undefined }, { kid: undefined }], [{}, { typ: "client-authentication+jwt" }], [{}, { typ: undefined }]]) {
      const answer = await redeem(s, client, await codeFor(s, browser, client), { ...asserting(sure({}, header, key)), ...more });
      assert.equal(answer.status, 200, answer.text);
      assert.equal(jwt(answer.json.access_token).claims.client_id, client.client_id);
    }
  });
}
test("C5 refresh, introspection and revocation authenticate alike", async () => {
  const first = await redeem(s, client, await codeFor(s, browser, client), asserting(sure()));
  const next = await refresh(s, client, first.json.refresh_token, asserting(sure()));
  assert.equal(next.status, 200, next.text);
  const ask = (token, proof) => post(s.at("/oauth/introspect"), { token, ...proof });
  assert.equal((await ask(next.json.access_token, asserting(sure()))).json.active, true);
  assert.deepEqual((await ask(next.json.access_token, asserting(assertion(pair("ES256"), other, s.issuer)))).status, 401);
  const give = post(s.at("/oauth/revoke"), { token: next.json.access_token, ...asserting(sure()) });
  assert.equal((await give).status, 200);
  assert.deepEqual((await ask(next.json.access_token, asserting(sure()))).json, { active: false });
});
test("an assertion is good once: at each endpoint, and at another service on the same store", async () => {
  const once = sure();
  const held = await codeFor(s, browser, client);
  const first = await redeem(s, client, held, asserting(once));
  assert.equal(first.status, 200, first.text);
  const token = first.json.access_token;
  for (const at of [s, twin]) {
    refused(await refresh(at, client, first.json.refresh_token, asserting(once)), 401, "invalid_client");
    for (const path of ["/oauth/introspect", "/oauth/revoke"]) refused(await post(at.at(path), { token, ...asserting(once) }), 401, "invalid_client");
  }
  const asked = sure();
  assert.equal((await post(twin.at("/oauth/introspect"), { token, ...asserting(asked) })).json.active, true);
  refused(await post(s.at("/oauth/introspect"), { token, ...asserting(asked) }), 401, "invalid_client");
  assert.equal((await refresh(twin, client, first.json.refresh_token, asserting(sure()))).status, 200);
});
test("an assertion is spent also when the request fails", async () => {
  const once = sure();
  refused(await redeem(s, client, { code: "unknown", verifier: "a".repeat(43) }, asserting(once)), 400, "invalid_grant");
  await fails(asserting(once));
});
test("32 at once with one assertion: one is believed", async () => {
  const once = sure();
  const all = await Promise.all(Array.from({ length: 32 }, (_, n) => post((n % 2 ? s : twin).at("/oauth/introspect"), { token: "x", ...asserting(once) })));
  assert.equal(all.filter((answer) => answer.status === 200).length, 1, all.map((answer) => answer.status).join());
  for (const answer of all) assert.ok([200, 401, 503].includes(answer.status), answer.text);
});
const bent = {
  "another issuer": { iss: "c_other" }, "another subject": { sub: other.client_id }, "another client": { iss: other.client_id, sub: other.client_id }, "no iss": { iss: undefined }, "no sub": { sub: undefined },
  "no aud": { aud: undefined }, "another server": { aud: "https://other.example" }, "the token endpoint": { aud: s.at("/oauth/token") }, "us and another": { aud: [s.issuer, "https://other.example"] }, "the issuer with a slash": { aud: `${s.issuer}/` }, "no audience in a list": { aud: [] },
  "no exp": { exp: undefined }, "an exp in the past": { exp: now() - 1 }, "an exp in an hour": { exp: now() + 3600 }, "an exp of text": { exp: String(now() + 60) }, "an exp beyond time": { exp: 1e300 }, "an iat ahead": { iat: now() + 600 }, "an nbf ahead": { nbf: now() + 600 },
  "no jti": { jti: undefined }, "an empty jti": { jti: "" }, "a jti of 1 KiB": { jti: "x".repeat(1024) }, "a number as jti": { jti: 7 },
};
for (const [what, claims] of Object.entries(bent)) test(`an assertion with ${what}`, () => fails({ ...asserting(sure(claims)), client_id: client.client_id }));
const headers = { "typ at+jwt": { typ: "at+jwt" }, "another kid": { kid: "nobody" }, "a path as kid": { kid: "../../keys.json" }, "another key's kid": { kid: "key-EdDSA" }, crit: { crit: ["exp"] }, "alg RS256 over an EC key": { alg: "RS256" }, "alg ES384": { alg: "ES384" }, "no alg": { alg: undefined } };
for (const [what, header] of Object.entries(headers)) test(`an assertion with ${what}`, () => fails(asserting(sure({}, header))));
test("an assertion signed with a key that is not the client's", () => fails(asserting(assertion(pair("ES256", "key-ES256"), client, s.issuer))));
test("unsigned, with a HMAC over the public key, cut, and with a byte changed", async () => {
  const good = sure();
  const [head, body, mac] = good.split(".");
  const hs = (secret) => {
    const text = `${encode({ alg: "HS256", typ: "JWT", kid: "key-ES256" })}.${body}`;
    return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
  };
  const pem = keys.ES256.publicKey.export({ format: "pem", type: "spki" });
  for (const bad of [`${encode({ alg: "none" })}.${body}.`, `${encode({ alg: "None" })}.${body}.${mac}`, hs(pem), hs(JSON.stringify(keys.ES256.jwk)), `${head}.${body}.`, `${head}.${body}`, good.slice(0, -4), `${head}.${body}.${mac.slice(0, 10)}A${mac.slice(11)}B`, "x", "a.b.c", "e30.e30.e30"]) {
    await fails({ ...asserting(bad), client_id: client.client_id });
  }
});
test("C9 an assertion of 9 KiB", () => fails({ ...asserting(sure({ x: "y".repeat(9 * 1024) })), client_id: client.client_id }, "invalid_request", 400));
test("C5 one method, the registered one", async () => {
  const withSecret = await register(s, { token_endpoint_auth_method: "client_secret_basic" });
  await fails({ ...asserting(sure()), client_secret: "x" });
  await fails({ ...asserting(sure()), client_id: undefined }, "invalid_client", 401, { headers: basic(client.client_id, "x") });
  await fails({ client_secret: "x" });
  await fails({});
  await fails({ client_assertion: sure() });
  await fails({ client_assertion: sure(), client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:saml2-bearer" });
  await fails({ client_assertion_type: JWT_BEARER });
  await fails({ ...asserting(sure()), client_id: other.client_id });
  for (const wrong of [withSecret, await register(s)]) {
    const signed = assertion(keys.ES256, wrong, s.issuer);
    refused(await redeem(s, wrong, await codeFor(s, browser, wrong), asserting(signed)), 401, "invalid_client");
  }
});
test("JWT-13 an assertion is no access token", async () => {
  const tokens = await login(s, browser, await register(s));
  assert.ok(tokens.access_token);
  const answer = await post(s.at("/oauth/introspect"), { token: sure(), ...asserting(sure()) });
  assert.deepEqual(answer.json, { active: false });
});
test("C1 C15 the services live, and have written down no assertion", async () => {
  await s.assertWell();
  await twin.assertWell();
});
