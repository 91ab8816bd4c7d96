// MET and INT: what the service says about itself, and about tokens.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { CALLBACK, allow, basic, codeFor, jwt, login, person, pkce, redeem, refused, register, request } from "../lib/flow.mjs";
import { ask, get, post, raw, statuses } from "../lib/http.mjs";
import { runToEnd, tempFolder } from "../lib/programs.mjs";
import { service } from "../lib/service.mjs";

const s = await service();
after(() => s.end());
const browser = await person(s);
const open = await register(s);
const secret = await register(s, { token_endpoint_auth_method: "client_secret_basic" });
const documents = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];

test("MET-01 the issuer is one string everywhere", async () => {
  for (const path of documents) assert.equal((await get(s.at(path))).json.issuer, s.issuer, path);
  const got = await login(s, browser, open);
  assert.equal(jwt(got.access_token).claims.iss, s.issuer);
  assert.equal((await allow(s, browser, request(open, pkce()))).get("iss"), s.issuer);
  assert.equal(s.issuer, s.url, "without a trailing slash");
});
test("MET-01 a configured issuer is kept byte for byte", async () => {
  for (const issuer of ["https://auth.example", "https://Auth.Example:8443"]) {
    const other = await service({ args: ["--issuer", issuer], users: [], limits: true });
    try {
      const found = (await get(other.at("/.well-known/oauth-authorization-server"), { headers: { host: new URL(issuer).host } })).json ?? other.meta;
      assert.equal(found.issuer, issuer);
      assert.ok(found.token_endpoint.startsWith(issuer));
    } finally {
      await other.end();
    }
  }
});
test("MET-02 a path issuer is served at the path-inserted address", async () => {
  const other = await service({ args: ["--issuer", "http://localhost:3999/tenant"], users: [] }).catch((error) => error);
  if (other instanceof Error) return assert.match(other.message, /path|issuer/i, "or refused with a reason");
  try {
    const answer = await get(other.at("/.well-known/oauth-authorization-server/tenant"), { headers: { host: "localhost:3999" } });
    assert.equal(answer.json?.issuer, "http://localhost:3999/tenant");
  } finally {
    await other.end();
  }
});
for (const issuer of ["http://auth.example", "https://auth.example/?x=1", "https://auth.example/#x", "https://user@auth.example", "auth.example", "", "ftp://auth.example", "https://"]) {
  test(`CFG-03 issuer ${JSON.stringify(issuer)} is refused at the start`, () => {
    const done = runToEnd("authz-service", ["serve", "--port", "0", "--data", `${tempFolder()}/d`, "--issuer", issuer], { timeout: 5_000 });
    assert.ok(done.code > 0, `${done.code} ${done.stderr}`);
    assert.match(done.stderr, /issuer/i);
  });
}
test("MET-06 MET-07 what is advertised", () => {
  const m = s.meta;
  assert.deepEqual(m.code_challenge_methods_supported, ["S256"]);
  assert.deepEqual(m.response_types_supported, ["code"]);
  assert.ok(m.grant_types_supported.includes("authorization_code") && m.grant_types_supported.includes("refresh_token"));
  for (const method of ["none", "client_secret_basic", "client_secret_post"]) assert.ok(m.token_endpoint_auth_methods_supported.includes(method), method);
  assert.equal(m.authorization_response_iss_parameter_supported, true);
  assert.ok(m.scopes_supported.includes("mcp:tools:read") && m.scopes_supported.includes("mcp:tools:execute"));
  assert.deepEqual([m.authorization_endpoint, m.token_endpoint, m.registration_endpoint, m.jwks_uri], ["/oauth/authorize", "/oauth/token", "/register", "/oauth/jwks"].map((path) => s.issuer + path));
});
test("MET-07 every advertised endpoint is there", async () => {
  for (const [name, url] of Object.entries(s.meta)) {
    if (!/_endpoint$|jwks_uri/.test(name)) continue;
    const answer = await ask(url);
    assert.notEqual(answer.status, 404, name);
    if (/token|registration|revocation|introspection/.test(name)) assert.equal(answer.status, 405, name);
  }
});
test("MET-07 nothing unadvertised is accepted", async () => {
  const m = s.meta;
  for (const method of ["private_key_jwt", "client_secret_jwt", "tls_client_auth"]) {
    if (m.token_endpoint_auth_methods_supported.includes(method)) continue;
    const answer = await ask(s.at("/register"), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ redirect_uris: [CALLBACK], token_endpoint_auth_method: method }) });
    refused(answer, 400, "invalid_client_metadata");
  }
  for (const [name, path] of [["device_authorization_endpoint", "/oauth/device_authorization"], ["pushed_authorization_request_endpoint", "/oauth/par"], ["introspection_endpoint", "/oauth/introspect"], ["revocation_endpoint", "/oauth/revoke"]]) {
    if (!m[name]) assert.equal((await post(s.at(path), { client_id: open.client_id, token: "x" })).status, 404, `${path} is not advertised`);
  }
});
test("MET-08 the JWKS", async () => {
  const answer = await get(s.meta.jwks_uri);
  assert.ok(answer.json.keys.length >= 1);
  for (const key of answer.json.keys) {
    for (const member of ["d", "p", "q", "dp", "dq", "qi", "k", "oth"]) assert.equal(key[member], undefined);
    assert.ok(key.kid && key.alg && key.kty && (key.use ?? "sig") === "sig");
  }
  const age = answer.headers["cache-control"]?.match(/max-age=(\d+)/)?.[1] ?? 0;
  assert.ok(Number(age) <= 3600);
});
for (const path of [...documents, "/oauth/jwks"]) {
  test(`MET-09 CORS at ${path}`, async () => {
    const answer = await get(s.at(path), { headers: { origin: "https://inspector.example" } });
    assert.equal(answer.status, 200);
    assert.match(answer.type, /^application\/(json|jwk-set\+json)/);
    assert.equal(answer.headers["access-control-allow-origin"], "*");
    const preflight = await ask(s.at(path), { method: "OPTIONS", headers: { origin: "https://inspector.example", "access-control-request-method": "GET", "access-control-request-headers": "mcp-protocol-version" } });
    assert.ok([200, 204].includes(preflight.status), `${preflight.status}`);
    assert.match(preflight.headers["access-control-allow-headers"] ?? "", /mcp-protocol-version|\*/i);
    const head = await ask(s.at(path), { method: "HEAD" });
    assert.ok([200, 405].includes(head.status));
    for (const method of ["POST", "PUT", "DELETE"]) assert.equal((await ask(s.at(path), { method })).status, 405, method);
  });
}
for (const host of ["evil.example", "evil.example:PORT", "localhost.evil.example:PORT", "127.0.0.1.evil.example", "[::2]:PORT", "192.168.1.1:PORT", "LOCALHOST.:PORT", "localhost:1@evil.example", "localhost,evil.example"]) {
  test(`MET-10 Host ${host} on a loopback bind`, async () => {
    for (const path of ["/", "/.well-known/oauth-authorization-server", "/oauth/authorize", "/nope"]) {
      const seen = await raw(s.port, `GET ${path} HTTP/1.1\r\nHost: ${host.replace("PORT", s.port)}\r\nConnection: close\r\n\r\n`);
      assert.ok([400, 403, 421].includes(statuses(seen)[0]), `${path}: ${seen.slice(0, 60)}`);
    }
  });
}
for (const host of ["localhost:PORT", "127.0.0.1:PORT", "LocalHost:PORT", "localhost"]) {
  test(`MET-10 Host ${host} is ours, and does not change what the metadata say`, async () => {
    const seen = await raw(s.port, `GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: ${host.replace("PORT", s.port)}\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nForwarded: host=evil.example\r\nConnection: close\r\n\r\n`);
    assert.equal(statuses(seen)[0], 200, seen.slice(0, 100));
    assert.ok(!seen.includes("evil.example"));
    assert.ok(seen.includes(`"${s.issuer}"`));
  });
}
test("the index lists the endpoints, and /health says little", async () => {
  const index = await get(s.at("/"));
  assert.equal(index.status, 200);
  for (const path of ["/register", "/oauth/authorize", "/oauth/token"]) assert.ok(index.text.includes(path), path);
  const health = await get(s.at("/health"));
  assert.ok(health.json, health.type);
  assert.ok(!health.text.includes(s.data), "not where the store is");
});

const introspect = (fields, options) => post(s.meta.introspection_endpoint, fields, options);
const skip = s.meta.introspection_endpoint ? false : "no introspection endpoint is advertised";
const asSecret = { headers: basic(secret.client_id, secret.client_secret) };
const ours = () => login(s, browser, open);
test("INT-01 without authentication", { skip }, async () => {
  const got = await ours();
  refused(await introspect({ token: got.access_token }), [400, 401], "invalid_client", "invalid_request");
  refused(await introspect({ token: got.access_token }, { headers: basic(secret.client_id, "wrong") }), 401, "invalid_client");
});
test("INT-02 INT-04 unknown, malformed, foreign: inactive and nothing else", { skip }, async () => {
  const got = await ours();
  for (const token of ["garbage", "a.b.c", got.access_token, got.refresh_token, got.held.code]) {
    const answer = await introspect({ token }, asSecret);
    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(answer.json, { active: false });
  }
});
test("INT-03 INT-07 its owner sees it, and sees it go", { skip }, async () => {
  const redeemed = await loginAs(secret, asSecret);
  const answer = await introspect({ token: redeemed.access_token }, asSecret);
  assert.equal(answer.json.active, true, answer.text);
  for (const [name, value] of Object.entries({ client_id: secret.client_id, sub: "ada", iss: s.issuer, token_type: "Bearer" })) assert.equal(answer.json[name], value, name);
  for (const name of ["scope", "exp", "aud"]) assert.ok(answer.json[name], name);
  const refreshInfo = await introspect({ token: redeemed.refresh_token }, asSecret);
  assert.ok(!refreshInfo.json.active || refreshInfo.json.token_type !== "Bearer", "INT-05");
  if (s.meta.revocation_endpoint) {
    await post(s.meta.revocation_endpoint, { token: redeemed.access_token }, asSecret);
    assert.deepEqual((await introspect({ token: redeemed.access_token }, asSecret)).json, { active: false });
  }
});
test("INT-06 GET", { skip }, async () => assert.equal((await ask(s.meta.introspection_endpoint)).status, 405));
test("INT missing and repeated token", { skip }, async () => {
  refused(await introspect({}, asSecret), 400, "invalid_request");
  refused(await introspect([["token", "a"], ["token", "b"]], asSecret), 400, "invalid_request");
});

async function loginAs(client, options) {
  const answer = await redeem(s, client, await codeFor(s, browser, client), { client_id: undefined, client_secret: undefined }, options);
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}
test("C15 after all of this it lives, and wrote down no secret", () => s.assertWell());
