// TOK: the token endpoint with codes.

import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";
import { after, test } from "node:test";
import { CALLBACK, RESOURCE, allow, basic, codeFor, jwt, login, person, pkce, redeem, redemption, refresh, refused, register, request } from "../lib/flow.mjs";
import { ask, form, get, post, postJson } from "../lib/http.mjs";
import { remember } from "../lib/secrets.mjs";
import { service } from "../lib/service.mjs";
import { done, stdioServer, toolRefused } from "../lib/stdio.mjs";

const s = await service();
const tool = stdioServer(s.data);
after(() => Promise.all([s.end(), tool.end()]));
await tool.initialize();
const browser = await person(s);
const open = await register(s);
const withBasic = await register(s, { token_endpoint_auth_method: "client_secret_basic" });
const withPost = await register(s, { token_endpoint_auth_method: "client_secret_post" });
const unnamed = await register(s, { token_endpoint_auth_method: undefined });
const at = s.at("/oauth/token");

/** A fresh code, and a check that it still works after whatever was tried with it. */
async function unspent(client, attempt, options, bare = {}) {
  const held = await codeFor(s, browser, client);
  await attempt(held);
  const answer = await redeem(s, client, held, bare, options);
  assert.equal(answer.status, 200, `the code was not spent: ${answer.text}`);
}
const secretless = { client_secret: undefined, client_id: undefined };

test("TOK-01 a code used twice kills what it gave, also at a running stdio server", async () => {
  const held = await codeFor(s, browser, open);
  const first = await redeem(s, open, held);
  assert.equal(first.status, 200, first.text);
  done(await tool.call("echo", { message: "m", access_token: first.json.access_token }));
  refused(await redeem(s, open, held), 400, "invalid_grant");
  refused(await refresh(s, open, first.json.refresh_token), 400, "invalid_grant");
  toolRefused(await tool.call("echo", { message: "m", access_token: first.json.access_token }), "invalid_token");
});
test("TOK-01 C6 a second use that is not fully valid revokes nothing", async () => {
  const other = await register(s);
  const held = await codeFor(s, browser, open);
  const first = await redeem(s, open, held);
  for (const [client, more] of [[other, {}], [open, { code_verifier: pkce().verifier }], [open, { code_verifier: undefined }], [open, { redirect_uri: "http://127.0.0.1:7777/x" }], [{ client_id: "c_x" }, {}], [open, { resource: "urn:mcp:stdio:other" }]]) {
    assert.ok((await redeem(s, client, held, more)).status >= 400);
  }
  done(await tool.call("echo", { message: "m", access_token: first.json.access_token }));
  assert.equal((await refresh(s, open, first.json.refresh_token)).status, 200);
});
test("TOK-01 32 at once: exactly one token", async () => {
  const held = await codeFor(s, browser, open);
  const all = await Promise.all(Array.from({ length: 32 }, () => redeem(s, open, held)));
  assert.equal(all.filter((answer) => answer.status === 200).length, 1);
  for (const answer of all) if (answer.status !== 200) refused(answer, 400, "invalid_grant");
});
for (const [what, verifier] of Object.entries({ "another": pkce().verifier, "too short": "a".repeat(42), "too long": "a".repeat(129), "with a bad character": `${"a".repeat(42)}+`, "empty": "", "the challenge": "CHALLENGE", "8 KiB": "a".repeat(8192), "unicode": "ä".repeat(43) })) {
  test(`TOK-02 code_verifier ${what}`, () => unspent(open, async (held) => {
    const value = verifier === "CHALLENGE" ? pkce(held.verifier).challenge : verifier;
    refused(await redeem(s, open, held, { code_verifier: value }), 400, "invalid_grant", "invalid_request");
  }));
}
test("TOK-02 a verifier in another case, or with space around it", () => unspent(open, async (held) => {
  for (const value of [held.verifier.toUpperCase(), ` ${held.verifier}`, `${held.verifier}\n`, `${held.verifier}=`]) if (value !== held.verifier) refused(await redeem(s, open, held, { code_verifier: value }), 400, "invalid_grant", "invalid_request");
}));
for (const length of [43, 128]) {
  test(`TOK-02 a verifier of ${length} characters, of every kind that is allowed`, async () => {
    const proof = pkce("aZ09-._~".repeat(16).slice(0, length));
    const code = (await allow(s, browser, request(open, proof))).get("code");
    assert.equal((await redeem(s, open, { code, verifier: proof.verifier, redirect_uri: CALLBACK })).status, 200);
  });
}
test("TOK-03 no code_verifier", () => unspent(open, async (held) => refused(await redeem(s, open, held, { code_verifier: undefined }), 400, "invalid_grant", "invalid_request")));
test("TOK-05 another client's code", () => unspent(open, async (held) => {
  refused(await redeem(s, await register(s), held), 400, "invalid_grant");
  refused(await redeem(s, withPost, held), 400, "invalid_grant");
}));
test("TOK-05 no client at all", () => unspent(open, async (held) => refused(await redeem(s, open, held, { client_id: undefined }), [400, 401], "invalid_client", "invalid_request")));
for (const uri of ["http://127.0.0.1:7777/other", `${CALLBACK}/`, `${CALLBACK}?`, "http://127.0.0.1:7778/cb", "http://localhost:7777/cb", "https://evil.example/", "x"]) {
  test(`TOK-06 redirect_uri ${uri}`, () => unspent(open, async (held) => refused(await redeem(s, open, held, { redirect_uri: uri }), 400, "invalid_grant")));
}
test("TOK-07 no redirect_uri, or an empty one", async () => {
  for (const redirect_uri of [undefined, ""]) assert.equal((await redeem(s, open, await codeFor(s, browser, open), { redirect_uri })).status, 200);
});
for (const [what, code] of Object.entries({ garbage: "garbage", empty: "", missing: undefined, "1 KiB": "x".repeat(1024), "9 KiB": "x".repeat(9 * 1024), "unicode": "🦀".repeat(9), "a NUL": "a\u0000b", "SQL": "' OR 1=1 --", "a path": "../../keys.json", "of our form": "A".repeat(43), "newlines": "a\r\nb" })) {
  test(`TOK-09 code: ${what}`, async () => {
    const started = Date.now();
    refused(await redeem(s, open, { code, verifier: pkce().verifier, redirect_uri: CALLBACK }), 400, "invalid_grant", "invalid_request");
    assert.ok(Date.now() - started < 1_000);
  });
}
test("TOK-09 a code of 1 MiB", async () => {
  const answer = await redeem(s, open, { code: "x".repeat(1024 * 1024), verifier: pkce().verifier, redirect_uri: CALLBACK });
  assert.ok([400, 413].includes(answer.status), `${answer.status}`);
});
for (const type of ["password", "implicit", "client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer", "Authorization_Code", "authorization_code ", "", undefined, "x", "refresh_token authorization_code"]) {
  test(`TOK-10 grant_type ${type}`, () => unspent(open, async (held) => {
    const answer = await redeem(s, open, held, { grant_type: type, username: "ada", password: "x" });
    refused(answer, 400, ...(type ? ["unsupported_grant_type", "unauthorized_client", "invalid_request"] : ["invalid_request", "unsupported_grant_type"]));
  }));
}
test("TOK-11 a JSON body is like a form", async () => {
  const held = await codeFor(s, browser, withPost);
  const answer = await postJson(at, redemption(withPost, held));
  assert.equal(answer.status, 200, answer.text);
  remember("access token", answer.json.access_token);
  remember("refresh token", answer.json.refresh_token);
});
for (const [what, bend] of Object.entries({
  "a member twice": (o) => JSON.stringify(o).replace(/^{/, '{"grant_type":"authorization_code",'), "a member twice by escape": (o) => JSON.stringify(o).replace(/^{/, '{"cod\\u0065":"x",'), "a nested value": (o) => JSON.stringify({ ...o, code: { a: 1 } }), "a list": (o) => JSON.stringify({ ...o, code: [o.code] }), "a number": (o) => JSON.stringify({ ...o, code_verifier: 7 }),
  "true": (o) => JSON.stringify({ ...o, client_id: true }), "an array": (o) => JSON.stringify([o]), "a string": (o) => JSON.stringify(JSON.stringify(o)), "cut off": (o) => JSON.stringify(o).slice(0, -1), "more after it": (o) => `${JSON.stringify(o)}{}`, "empty": () => "", "a byte order mark": (o) => `\ufeff${JSON.stringify(o)}`, "a nested unknown member": (o) => JSON.stringify({ ...o, x: { y: 1 } }),
}) ) {
  test(`TOK-11 a JSON body with ${what}`, () => unspent(open, async (held) => refused(await postJson(at, bend(redemption(open, held))), 400, "invalid_request")));
}
test("TOK-11 JSON under another type, a form under JSON's, no type at all", () => unspent(open, async (held) => {
  const json = JSON.stringify(redemption(open, held));
  for (const type of ["application/x-www-form-urlencoded", "text/plain", "text/json", "application/octet-stream", "multipart/form-data; boundary=x", ""]) {
    refused(await ask(at, { method: "POST", body: json, headers: type ? { "content-type": type } : {} }), [400, 401, 415], "invalid_request", "invalid_client", "unsupported_grant_type");
  }
  refused(await ask(at, { method: "POST", body: form(redemption(open, held)), headers: { "content-type": "application/json" } }), 400, "invalid_request");
}));
test("TOK-11 a form body under a type with parameters and capitals is a form", async () => {
  for (const type of ["application/x-www-form-urlencoded; charset=UTF-8", "Application/X-WWW-Form-URLencoded"]) {
    const held = await codeFor(s, browser, open);
    assert.equal((await redeem(s, open, held, {}, { headers: { "content-type": type } })).status, 200, type);
  }
});
for (const name of ["grant_type", "code", "code_verifier", "redirect_uri", "client_id", "client_secret", "resource"]) {
  test(`TOK C4 ${name} twice`, () => unspent(withPost, async (held) => {
    const fields = [...Object.entries(redemption(withPost, held, { resource: RESOURCE }))];
    for (const value of [fields.find(([n]) => n === name)[1], "other"]) {
      const answer = await post(at, [...fields, [name, value]]);
      if (name === "resource") assert.ok([400].includes(answer.status) || value === RESOURCE, answer.text);
      else refused(answer, [400, 401], "invalid_request", "invalid_client");
      if (answer.status === 200) return Promise.reject(new Error("a repeated resource spent the code"));
    }
  }).catch((error) => {
    // RFC 8707 allows `resource` more than once: the same one twice may be granted.
    if (name !== "resource" || !/spent/.test(error.message)) throw error;
  }));
}
test("TOK C5 parameters in the query are not read", () => unspent(open, async (held) => {
  const answer = await post(`${at}?${form(redemption(open, held))}`, "");
  assert.ok([400, 401].includes(answer.status));
  const half = await post(`${at}?${form({ code: held.code })}`, redemption(open, held, { code: undefined }));
  assert.equal(half.status, 400);
}));
test("TOK C5 credentials in the query are not read", () => unspent(withPost, async (held) => {
  refused(await post(`${at}?${form({ client_secret: withPost.client_secret, client_id: withPost.client_id })}`, redemption(withPost, held, { client_secret: undefined })), 401, "invalid_client");
}));
for (const method of ["GET", "PUT", "DELETE", "HEAD", "PATCH"]) {
  test(`TOK-12 ${method}`, async () => {
    const answer = await ask(at, { method });
    assert.equal(answer.status, 405);
    assert.match(answer.headers.allow ?? "", /POST/);
  });
}
test("TOK-13 a wrong secret by Basic", () => unspent(withBasic, async (held) => {
  for (const secret of ["wrong", "", `${withBasic.client_secret}x`, withBasic.client_secret.slice(0, -1), withBasic.client_secret.toLowerCase()]) {
    const answer = await redeem(s, withBasic, held, secretless, { headers: basic(withBasic.client_id, secret) });
    refused(answer, 401, "invalid_client");
    assert.match(answer.headers["www-authenticate"] ?? "", /^Basic\b/i, secret);
  }
}, { headers: basic(withBasic.client_id, withBasic.client_secret) }, secretless));
test("TOK-14 a wrong secret by form", () => unspent(withPost, async (held) => {
  for (const secret of ["wrong", "", undefined, `${withPost.client_secret} `]) {
    const answer = await redeem(s, withPost, held, { client_secret: secret });
    refused(answer, 401, "invalid_client");
    assert.equal(answer.headers["www-authenticate"], undefined);
  }
}));
test("TOK-15 an unknown client", () => unspent(open, async (held) => {
  for (const id of ["c_00000000-0000-4000-8000-000000000000", "ü", "x".repeat(3000), "https://evil.example/client.json"]) {
    refused(await redeem(s, open, held, { client_id: id }), [400, 401], "invalid_client", "invalid_request");
    const answer = await redeem(s, open, held, secretless, { headers: basic(id, "x") });
    refused(answer, [400, 401], "invalid_client", "invalid_request");
    if (answer.status === 401) assert.match(answer.headers["www-authenticate"], /^Basic\b/i);
  }
}));
test("TOK C5 exactly one method, and the registered one", async () => {
  await unspent(withBasic, async (held) => refused(await redeem(s, withBasic, held), 401, "invalid_client"), { headers: basic(withBasic.client_id, withBasic.client_secret) }, secretless);
  await unspent(withPost, async (held) => {
    const headers = basic(withPost.client_id, withPost.client_secret);
    refused(await redeem(s, withPost, held, secretless, { headers }), 401, "invalid_client");
    refused(await redeem(s, withPost, held, {}, { headers }), [400, 401], "invalid_client", "invalid_request");
  });
  await unspent(open, async (held) => {
    refused(await redeem(s, open, held, { client_secret: "x" }), 401, "invalid_client");
    refused(await redeem(s, open, held, secretless, { headers: basic(open.client_id, "") }), 401, "invalid_client");
    refused(await redeem(s, open, held, secretless, { headers: basic(open.client_id, "x") }), 401, "invalid_client");
  });
});
test("TOK C5 one client in the header and another in the body", () => unspent(withBasic, async (held) => {
  refused(await redeem(s, withBasic, held, { client_id: open.client_id, client_secret: undefined }, { headers: basic(withBasic.client_id, withBasic.client_secret) }), [400, 401], "invalid_client", "invalid_request");
}, { headers: basic(withBasic.client_id, withBasic.client_secret) }, secretless));
test("TOK C5 the same client_id in header and body is one method", async () => {
  const held = await codeFor(s, browser, withBasic);
  assert.equal((await redeem(s, withBasic, held, { client_secret: undefined }, { headers: basic(withBasic.client_id, withBasic.client_secret) })).status, 200);
});
test("TOK C5 a client that registered no method uses either", async () => {
  assert.equal((await redeem(s, unnamed, await codeFor(s, browser, unnamed))).status, 200);
  assert.equal((await redeem(s, unnamed, await codeFor(s, browser, unnamed), secretless, { headers: basic(unnamed.client_id, unnamed.client_secret) })).status, 200);
  await unspent(unnamed, async (held) => refused(await redeem(s, unnamed, held, { client_secret: undefined }), 401, "invalid_client"));
});
test("TOK-17 the scheme's name in any case, and extra space after it", async () => {
  for (const scheme of ["basic", "BASIC", "bAsIc", "Basic "]) {
    const held = await codeFor(s, browser, withBasic);
    assert.equal((await redeem(s, withBasic, held, secretless, { headers: basic(withBasic.client_id, withBasic.client_secret, scheme) })).status, 200, scheme);
  }
});
for (const [what, value] of Object.entries({ "Bearer": "Bearer x", "no value": "Basic", "no base64": "Basic %%%", "no colon": `Basic ${Buffer.from("abc").toString("base64")}`, "not UTF-8": `Basic ${Buffer.from([0xff, 0xfe, 0x3a, 0xff]).toString("base64")}`, "broken percent": `Basic ${Buffer.from("a%zz:b%").toString("base64")}`, "empty": "Basic Og==", "a megabyte": `Basic ${"QUFB".repeat(2000)}`, "Digest": 'Digest username="a"', "an unknown scheme": "Foo bar" })) {
  test(`TOK-13 an Authorization header with ${what}`, () => unspent(withBasic, async (held) => {
    const answer = await redeem(s, withBasic, held, secretless, { headers: { authorization: value } });
    refused(answer, [400, 401], "invalid_client", "invalid_request");
  }, { headers: basic(withBasic.client_id, withBasic.client_secret) }, secretless));
}
test("TOK-13 two Authorization headers", async () => {
  const held = await codeFor(s, browser, withBasic);
  const good = basic(withBasic.client_id, withBasic.client_secret).authorization;
  const answer = await redeem(s, withBasic, held, secretless, { headers: { authorization: [good, basic("x", "y").authorization] } });
  assert.ok([400, 401].includes(answer.status), answer.text);
});
test("TOK C5 an assertion is no method that we take", () => unspent(open, async (held) => {
  const assertion = { client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", client_assertion: "eyJhbGciOiJub25lIn0.e30." };
  refused(await redeem(s, open, held, assertion), [400, 401], "invalid_client", "invalid_request");
  refused(await redeem(s, open, held, { ...assertion, client_id: undefined }), [400, 401], "invalid_client", "invalid_request");
}));
test("TOK C5 a secret of another client", () => unspent(withPost, async (held) => {
  refused(await redeem(s, withPost, held, { client_secret: withBasic.client_secret }), 401, "invalid_client");
}));
test("TOK-07 a redirect_uri that was never in the authorization request", async () => {
  const proof = pkce();
  const code = (await allow(s, browser, request(open, proof, { redirect_uri: undefined }), CALLBACK)).get("code");
  refused(await redeem(s, open, { code, verifier: proof.verifier, redirect_uri: "http://127.0.0.1:7777/other" }), 400, "invalid_grant");
  assert.equal((await redeem(s, open, { code, verifier: proof.verifier, redirect_uri: CALLBACK })).status, 200);
});
test("TOK-06 a loopback port is part of what the code is bound to", async () => {
  const port = { redirect_uri: CALLBACK.replace("7777", "50123") };
  const held = await codeFor(s, browser, open, port);
  refused(await redeem(s, open, held, { redirect_uri: CALLBACK }), 400, "invalid_grant");
  assert.equal((await redeem(s, open, held)).status, 200);
});
test("TOK scope at the token endpoint does not widen the grant", async () => {
  const held = await codeFor(s, browser, open, { scope: "mcp:tools:read" });
  const answer = await redeem(s, open, held, { scope: "mcp:tools:execute mcp:resources" });
  if (answer.status === 200) assert.equal(jwt(answer.json.access_token).claims.scope, "mcp:tools:read");
  else refused(answer, 400, "invalid_scope", "invalid_request");
});
test("TOK authorization_details with a code are refused, and spend nothing", () => unspent(open, async (held) => {
  refused(await redeem(s, open, held, { authorization_details: '[{"type":"mcp_tool_call","tool":"echo"}]' }), 400, "invalid_authorization_details");
}));
test("TOK unknown parameters are ignored", async () => {
  const held = await codeFor(s, browser, open);
  assert.equal((await redeem(s, open, held, { foo: "bar", audience: "x", "": "", code_challenge: "x" })).status, 200);
});
test("TOK-18 a resource outside the authorization", () => unspent(open, async (held) => {
  for (const resource of ["urn:mcp:stdio:other", "https://evil.example/", "x", `${RESOURCE}#x`]) refused(await redeem(s, open, held, { resource }), 400, "invalid_target");
}));
test("TOK-18 the authorized resource named again, also in capitals", async () => {
  for (const resource of [RESOURCE, "URN:mcp:STDIO:default", ""]) assert.equal((await redeem(s, open, await codeFor(s, browser, open), { resource })).status, 200, resource);
});
test("TOK-19 wrong secrets meet a limit, and the right client keeps working from elsewhere", async () => {
  const strict = await service({ limits: true });
  try {
    const victim = await register(strict, { token_endpoint_auth_method: "client_secret_post" });
    const guess = (i) => post(strict.at("/oauth/token"), { grant_type: "refresh_token", refresh_token: "x", client_id: victim.client_id, client_secret: `guess${i}` });
    let limited;
    for (let i = 0; i < 150 && !limited; i += 1) {
      const answer = await guess(i);
      if (answer.status === 429) limited = answer;
    }
    assert.ok(limited, "429 within 150 wrong secrets");
    assert.match(limited.headers["retry-after"] ?? "", /^\d+$/);
  } finally {
    await strict.end();
  }
});
test("TOK-20 the answer", async () => {
  const held = await codeFor(s, browser, open);
  const answer = await redeem(s, open, held);
  assert.equal(answer.status, 200);
  assert.match(answer.type, /^application\/json/);
  assert.match(answer.headers["cache-control"], /no-store/);
  assert.equal(answer.json.token_type, "Bearer");
  assert.ok(Number.isInteger(answer.json.expires_in) && answer.json.expires_in > 0 && answer.json.expires_in <= 3600);
  assert.equal(typeof answer.json.scope, "string");
  assert.ok(answer.json.refresh_token);
  const poor = await register(s, { grant_types: ["authorization_code"] });
  const without = await redeem(s, poor, await codeFor(s, browser, poor));
  assert.equal(without.status, 200);
  assert.equal(without.json.refresh_token, undefined, "REF-09");
});
test("TOK-21 CORS without credentials, and its preflight", async () => {
  const held = await codeFor(s, browser, open);
  const headers = { origin: "https://app.example" };
  const answer = await redeem(s, open, held, {}, { headers });
  assert.ok(["*", "https://app.example"].includes(answer.headers["access-control-allow-origin"]));
  const refusedToo = await redeem(s, open, { code: "x", verifier: held.verifier }, {}, { headers });
  assert.ok(refusedToo.headers["access-control-allow-origin"], "errors can be read too");
  const preflight = await ask(at, { method: "OPTIONS", headers: { ...headers, "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type,mcp-protocol-version" } });
  assert.ok([200, 204].includes(preflight.status));
  assert.ok(preflight.headers["access-control-allow-origin"]);
  assert.match(preflight.headers["access-control-allow-methods"] ?? "", /POST/);
  for (const name of ["authorization", "content-type"]) assert.match(preflight.headers["access-control-allow-headers"] ?? "", new RegExp(name, "i"), "a wildcard does not cover Authorization");
});
test("TOK-24 the access token", async () => {
  const got = await login(s, browser, open, { scope: "mcp:tools:read" });
  const { header, claims } = jwt(got.access_token);
  assert.equal(header.typ, "at+jwt");
  assert.equal(header.alg, "ES256");
  assert.equal(claims.iss, s.issuer);
  assert.deepEqual([claims.aud].flat(), [RESOURCE]);
  assert.equal(claims.client_id, open.client_id);
  assert.equal(claims.sub, "ada");
  assert.equal(claims.scope, "mcp:tools:read");
  assert.ok(claims.jti.length >= 22);
  assert.equal(claims.exp - claims.iat, got.expires_in);
  const jwks = (await get(s.meta.jwks_uri)).json;
  const key = jwks.keys.find((one) => one.kid === header.kid);
  assert.ok(key, "kid is in the JWKS");
  assert.equal(key.d, undefined);
  const [h, p, signature] = got.access_token.split(".");
  assert.ok(verify("sha256", Buffer.from(`${h}.${p}`), { key: createPublicKey({ key, format: "jwk" }), dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url")));
});
test("TOK-24 mcp:tools stands for read and execute", async () => {
  const got = await login(s, browser, open, { scope: "mcp:tools" });
  done(await tool.call("echo", { message: "m", access_token: got.access_token }));
});
test("TOK no scope asked", async () => {
  const got = await login(s, browser, open, { scope: undefined });
  assert.equal(typeof got.scope, "string", "the answer says what was given");
});
test("TOK /token is the same endpoint", async () => {
  assert.equal((await post(s.at("/token"), redemption(open, await codeFor(s, browser, open)))).status, 200);
});
test("TOK C9 more than 200 parameters, broken encodings, huge bodies", async () => {
  const held = await codeFor(s, browser, open);
  const many = Array.from({ length: 201 }, (_, i) => [`p${i}`, "x"]);
  refused(await post(at, [...Object.entries(redemption(open, held)), ...many]), [400, 413], "invalid_request");
  for (const body of ["%", "a=%zz", "a=%ff%fe", "=", "&&&", "a=b&&=c", "\u0000", "grant_type=authorization_code\u0000"]) assert.ok([400, 401].includes((await post(at, body)).status), body);
  const big = await post(at, `x=${"a".repeat(65 * 1024)}`, { check: false });
  assert.equal(big.status, 413);
});
test("C15 after all of this both live, and wrote down no secret", async () => {
  await s.assertWell();
  await tool.assertWell();
});
