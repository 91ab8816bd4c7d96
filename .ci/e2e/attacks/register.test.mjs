// REG: what a hostile or careless program may send to the registration endpoint (RFC 7591).

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { ask, get, post, postJson } from "../lib/http.mjs";
import { CALLBACK, authorize, person, pkce, refused, register, request } from "../lib/flow.mjs";
import { remember } from "../lib/secrets.mjs";
import { visible } from "../lib/page.mjs";
import { service } from "../lib/service.mjs";

const s = await service();
after(() => s.end());

const send = (body, options) => postJson(s.at("/register"), body, options);
const minimal = (more = {}) => ({ redirect_uris: [CALLBACK], token_endpoint_auth_method: "none", ...more });
const journal = () => readdirSync(s.data).map((name) => readFileSync(join(s.data, name), "latin1")).join("");

/** Sends a body that must be refused, and sees that nothing was stored. */
async function bad(body, word, { status = 400, ...options } = {}) {
  const before = journal();
  refused(await send(body, options), status, ...[word].flat());
  assert.equal(journal(), before, "the store is unchanged");
}

const redirects = (uri, more) => bad(minimal({ redirect_uris: [uri], ...more }), "invalid_redirect_uri");
const META = "invalid_client_metadata";

for (const [what, body] of Object.entries({
  "nothing": "", "a brace": "{", "plain text": "hello", "HTML": "<html></html>", "an array": "[]", "a string": '"x"', "a number": "1",
  "null": "null", "trailing text": '{"redirect_uris":["https://a.example/"]} x', "two objects": "{}{}", "a comment": '{/**/"redirect_uris":[]}',
  "a byte order mark": `\ufeff${JSON.stringify(minimal())}`, "single quotes": "{'redirect_uris':[]}", "NaN": '{"redirect_uris":NaN}',
})) {
  test(`REG-01 the body is ${what}`, () => bad(body, [META, "invalid_request", "invalid_redirect_uri"]));
}
test("REG-01 the body is not UTF-8", () => bad(Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]), [META, "invalid_request"]));
test("REG-01 C1 a member twice is refused, also spelt with an escape", async () => {
  await bad(`{"redirect_uris":["https://a.example/"],"redirect_uris":["https://b.example/"]}`, [META, "invalid_request", "invalid_redirect_uri"]);
  await bad(`{"redirect_uris":["https://a.example/"],"redirect\\u005furis":["https://b.example/"]}`, [META, "invalid_request", "invalid_redirect_uri"]);
  await bad(`{"redirect_uris":["https://a.example/"],"jwks":{"keys":[],"keys":[]}}`, [META, "invalid_request"]);
});
test("REG-01 C9 nesting beyond 64", () => bad(`{"redirect_uris":["https://a.example/"],"x":${"[".repeat(100)}${"]".repeat(100)}}`, [META, "invalid_request"]));
test("REG-01 a lone surrogate", () => bad(`{"redirect_uris":["https://a.example/"],"client_name":"\\ud800"}`, [META, "invalid_request"]));

for (const type of ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "text/html", "", "application/jsonp", "text/json", "application/json, text/plain"]) {
  test(`REG-02 Content-Type ${type || "missing"}`, async () => {
    const before = journal();
    const headers = type ? { "content-type": type } : {};
    const answer = await ask(s.at("/register"), { method: "POST", headers, body: JSON.stringify(minimal()) });
    assert.ok([400, 415].includes(answer.status), `${answer.status}`);
    assert.equal(journal(), before);
  });
}
test("REG-02 a form", async () => {
  const answer = await post(s.at("/register"), { redirect_uris: CALLBACK, client_name: "x" });
  assert.ok([400, 415].includes(answer.status));
});
for (const type of ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=\"UTF-8\""]) {
  test(`REG-02 ${type} is JSON`, async () => {
    assert.equal((await send(minimal(), { headers: { "content-type": type } })).status, 201);
  });
}

for (const [what, value] of Object.entries({ missing: undefined, empty: [], null: null, "a string": CALLBACK, "a number": 7, "an object": { 0: CALLBACK }, "a list of numbers": [1], "a list of lists": [[CALLBACK]], "a list with null": [null] })) {
  test(`REG-03 redirect_uris ${what}`, () => bad(minimal({ redirect_uris: value }), ["invalid_redirect_uri", META]));
}
test("REG-03 one good and one bad redirect is bad", () => bad(minimal({ redirect_uris: [CALLBACK, "javascript:alert(1)"] }), "invalid_redirect_uri"));

for (const uri of [
  "javascript:alert(1)", "JaVaScRiPt:alert(1)", "javascript://app.example/%0aalert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "about:blank",
  "blob:https://a.example/x", "mailto:a@b.example", "ftp://a.example/cb", "ws://a.example/cb", "wss://a.example/cb", "view-source:https://a.example/", "intent://x#Intent;end", "tel:1", "urn:x:y",
]) test(`REG-04 ${uri}`, () => redirects(uri));

for (const uri of ["https://app.example/cb#", "https://app.example/cb#x", "http://127.0.0.1/cb#a", "com.example.app:/cb#x"]) test(`REG-05 ${uri}`, () => redirects(uri));
for (const uri of ["/cb", "//x.example/cb", "app.example/cb", "", " ", "cb", "?x=1", "://x.example", "https:", "https:/app.example/cb", "https:app.example/cb", "https://", "https:///cb", "https://?x", "http:///cb", "https://:443/cb"]) {
  test(`REG-06 ${JSON.stringify(uri)}`, () => redirects(uri));
}
for (const uri of [
  "http://app.example/cb", "http://192.168.1.1/cb", "http://127.0.0.1.evil.example/cb", "http://localhost.evil.example/cb", "http://127.0.0.2/cb", "http://127.1/cb", "http://2130706433/cb", "http://0x7f.1/cb",
  "http://0.0.0.0/cb", "http://[::]/cb", "http://[0:0:0:0:0:0:0:1]/cb", "http://[::ffff:127.0.0.1]/cb", "http://LOCALHOST/cb", "http://localhost./cb", "HTTP://app.example/cb", "http://[::1%25lo]/cb", "http://127.0.0.1:0x50/cb",
  "http://evil.example:80@127.0.0.1/cb", "http://127.0.0.1:99999/cb",
]) test(`REG-07 ${uri}`, () => redirects(uri));
for (const uri of ["https://*.example.org/cb", "https://app.example/*", "https://app.example/cb?x=*", "http://127.0.0.1:*/cb", "*", "com.example.app:/*"]) test(`REG-08 ${uri}`, () => redirects(uri));
for (const uri of ["myapp:/cb", "myapp://cb", "x:cb", "a-b:/cb", "app+x:/cb"]) test(`REG-09 ${uri}`, () => redirects(uri));
for (const uri of ["com.example.app:/cb", "com.example.app://cb", "cursor://anysphere.cursor-retrieval/oauth/cb", "vscode://x.y/cb", "https://app.example/cb?tenant=7", "http://[::1]:8080/cb", "http://localhost/cb", "https://app.example:8443/cb", "https://xn--bcher-kva.example/cb"]) {
  test(`REG-09 C3 accepted and echoed byte for byte: ${uri}`, async () => {
    const answer = await send(minimal({ redirect_uris: [uri] }));
    assert.equal(answer.status, 201, answer.text);
    assert.deepEqual(answer.json.redirect_uris, [uri]);
  });
}
for (const character of ["\\", "<", ">", '"', "{", "}", "^", "`", "|", " ", "\t", "\n", "\r", "\u0000", "\u007f", "ü", "\u202e", "\ud83d\ude00"]) {
  test(`C3 a redirect URI with ${JSON.stringify(character)}`, () => redirects(`https://app.example/c${character}b`));
}
for (const uri of ["https://user@app.example/cb", "https://user:pw@app.example/cb", "https://app.example@evil.example/cb", "https://@app.example/cb"]) test(`C3 ${uri}`, () => redirects(uri));
test("C3 whitespace around a redirect URI is not trimmed into a good one", async () => {
  await redirects(` ${CALLBACK}`);
  await redirects(`${CALLBACK}\n`);
});

const urls = (count) => Array.from({ length: count }, (_, i) => `https://app.example/cb/${i}`);
test("REG-10 ten redirect URIs, and eleven", async () => {
  assert.equal((await send(minimal({ redirect_uris: urls(10) }))).status, 201);
  await bad(minimal({ redirect_uris: urls(11) }), ["invalid_redirect_uri", META]);
});
test("REG-10 a redirect of 2048 bytes, and of 2049", async () => {
  const long = (n) => "https://app.example/".padEnd(n, "a");
  assert.equal((await send(minimal({ redirect_uris: [long(2048)] }))).status, 201);
  await redirects(long(2049));
});
test("REG-10 a body of 65 KiB", async () => {
  const before = journal();
  const answer = await send({ ...minimal(), x: "a".repeat(65 * 1024) });
  assert.ok([400, 413].includes(answer.status), `${answer.status}`);
  assert.equal(journal(), before);
});
test("C9 client_name of 128 characters, and of 129", async () => {
  assert.equal((await send(minimal({ client_name: "ä".repeat(128) }))).status, 201);
  await bad(minimal({ client_name: "ä".repeat(129) }), META);
  await bad(minimal({ client_name: "a".repeat(4000) }), META);
});
test("C9 a string member of more than 1 KiB", async () => {
  for (const name of ["software_id", "software_version", "scope", "client_uri"]) {
    await bad(minimal({ [name]: (name === "client_uri" ? "https://a.example/" : "").padEnd(1025, "a") }), META);
  }
});

for (const [name, value] of [
  ["token_endpoint_auth_method", "magic"], ["token_endpoint_auth_method", "NONE"], ["token_endpoint_auth_method", ""], ["token_endpoint_auth_method", 1], ["token_endpoint_auth_method", ["none"]],
  ["grant_types", ["implicit"]], ["grant_types", ["password"]], ["grant_types", ["authorization_code", "implicit"]], ["grant_types", "authorization_code"], ["grant_types", [1]], ["grant_types", { a: 1 }],
  ["response_types", ["token"]], ["response_types", ["code", "token"]], ["response_types", ["code token"]], ["response_types", ["id_token"]], ["response_types", "code"],
  ["client_name", 7], ["client_name", {}], ["client_name", ["x"]], ["contacts", "me"], ["contacts", [1]], ["scope", ["a"]], ["scope", 'a"b'], ["scope", "a\\b"],
]) test(`REG-11 ${name} ${JSON.stringify(value)}`, () => bad(minimal({ [name]: value }), [META, "invalid_scope"]));

test("REG-12 UI-11 a name with markup is escaped wherever it is shown", async () => {
  const name = `<img src=x onerror=alert(1)>"'&\\<script>alert(2)</script>`;
  const client = await register(s, { client_name: name });
  assert.equal(client.client_name, name, "echoed as stored");
  const browser = await person(s);
  const page = await authorize(s, browser, request(client, pkce()));
  assert.equal(page.status, 200);
  assert.doesNotMatch(page.text, /<img|<script>alert/i);
  assert.ok(visible(page.text).includes("<img src=x onerror=alert(1)>"), "shown as text");
});
test("REG-12 C15 a name with line ends and escape sequences does not write log lines", async () => {
  const name = "evil\r\n2026-01-01T00:00:00Z  INFO forged line\u001b[31m";
  const answer = await send(minimal({ client_name: name }));
  assert.ok([201, 400].includes(answer.status));
  if (answer.status === 201) await authorize(s, await person(s), request(answer.json, pkce()));
  assert.doesNotMatch(s.logs(), /^2026-01-01T00:00:00Z {2}INFO forged/m);
  assert.ok(!s.logs().includes("\u001b[31mevil") && !/evil[\r\n]/.test(s.logs()));
});

for (const name of ["client_uri", "logo_uri", "tos_uri", "policy_uri"]) {
  for (const value of ["javascript:alert(1)", "data:image/svg+xml,x", "http://app.example/", "file:///x", "/relative", "//app.example/x", "ftp://app.example/", "https://", "not a uri", 7]) {
    test(`REG-13 ${name} ${value}`, () => bad(minimal({ [name]: value }), META));
  }
}
const key = { kty: "EC", crv: "P-256", x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" };
for (const [what, jwks] of Object.entries({
  "d": { keys: [{ ...key, d: "AAAA" }] }, "k": { keys: [{ kty: "oct", k: "AAAA" }] }, "p": { keys: [{ kty: "RSA", n: "AQ", e: "AQAB", p: "AQ" }] }, "q and dp": { keys: [{ kty: "RSA", n: "AQ", e: "AQAB", q: "AQ", dp: "AQ" }] },
  "d in the second key": { keys: [key, { ...key, d: "x" }] }, "keys no list": { keys: key }, "a list": [key], "a text": "x",
})) test(`REG-14 jwks with ${what}`, () => bad(minimal({ jwks }), META));
test("REG-15 jwks and jwks_uri", () => bad(minimal({ jwks: { keys: [key] }, jwks_uri: "https://app.example/jwks" }), META));
const b64 = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
for (const [what, statement] of Object.entries({
  "unsigned": `${b64({ alg: "none" })}.${b64({ client_name: "Bank", redirect_uris: ["https://evil.example/cb"] })}.`,
  "signed by nobody we know": `${b64({ alg: "ES256" })}.${b64({ client_name: "Bank" })}.${"A".repeat(86)}`, "garbage": "garbage", "empty": "", "a number": 1, "an object": {},
})) test(`REG-16 software_statement ${what}`, async () => {
  const answer = await send(minimal({ software_statement: statement }));
  if (what === "empty" && answer.status === 201) return;
  refused(answer, 400, "invalid_software_statement", "unapproved_software_statement", META);
});
test("REG-19 member names in another case are other members", async () => {
  await bad({ Redirect_URIs: [CALLBACK] }, "invalid_redirect_uri");
  await bad({ REDIRECT_URIS: [CALLBACK], redirectUris: [CALLBACK] }, "invalid_redirect_uri");
});

test("REG-20 the answer to a public registration", async () => {
  const asked = { ...minimal(), client_name: "Test ✓", grant_types: ["authorization_code", "refresh_token"], response_types: ["code"], scope: "mcp:tools:read", client_uri: "https://app.example/", logo_uri: "https://app.example/l.png", tos_uri: "https://app.example/t", policy_uri: "https://app.example/p", contacts: ["a@app.example"], software_id: "s1", software_version: "1.2" };
  const answer = await send(asked);
  assert.equal(answer.status, 201, answer.text);
  assert.match(answer.headers["cache-control"], /no-store/);
  for (const [name, value] of Object.entries(asked)) assert.deepEqual(answer.json[name], value, name);
  assert.equal(answer.json.client_secret, undefined);
  assert.equal(answer.json.client_secret_expires_at, undefined);
  assert.equal(typeof answer.json.client_id_issued_at, "number");
  assert.ok(Math.abs(answer.json.client_id_issued_at - Date.now() / 1000) < 60);
  assert.ok(answer.json.client_id && !answer.json.client_id.startsWith("https://"), "CIM-16");
});
for (const method of ["client_secret_basic", "client_secret_post", undefined]) {
  test(`REG-21 the answer to a confidential registration (${method})`, async () => {
    const answer = await send(minimal({ token_endpoint_auth_method: method }));
    assert.equal(answer.status, 201, answer.text);
    remember("client secret", answer.json.client_secret);
    assert.ok(Buffer.from(answer.json.client_secret, "base64url").length >= 32, "256 bits");
    assert.equal(typeof answer.json.client_secret_expires_at, "number");
    assert.match(answer.headers["cache-control"], /no-store/);
    if (method) assert.equal(answer.json.token_endpoint_auth_method, method);
    assert.ok(!journal().includes(answer.json.client_secret), "stored only as a hash");
  });
}
test("REG-20 a caller cannot choose its id, secret, or origin", async () => {
  const answer = await send(minimal({ client_id: "admin", client_secret: "hunter2hunter2", client_id_issued_at: 1, origin: "operator", admin: true }));
  assert.equal(answer.status, 201, answer.text);
  assert.notEqual(answer.json.client_id, "admin");
  assert.notEqual(answer.json.client_secret, "hunter2hunter2");
  assert.notEqual(answer.json.client_id_issued_at, 1);
});
test("REG-20 unknown members are ignored, also nested and big ones", async () => {
  assert.equal((await send(minimal({ x_unknown: { a: [1, 2, { b: null }] }, "": 1, constructor: {}, __proto__x: 1 }))).status, 201);
});
test("REG-20 null members are absent ones", async () => {
  assert.equal((await send(minimal({ client_name: null, logo_uri: null, scope: null, jwks: null, contacts: null }))).status, 201);
});
test("REG-11 empty lists, refresh_token alone, repeated words", async () => {
  for (const more of [{ grant_types: [] }, { response_types: [] }, { grant_types: ["refresh_token"] }]) {
    const answer = await send(minimal(more));
    assert.ok([201, 400].includes(answer.status));
    if (answer.status === 400) assert.equal(answer.json.error, META);
  }
  const twice = await send(minimal({ grant_types: ["authorization_code", "authorization_code"], redirect_uris: [CALLBACK, CALLBACK] }));
  assert.ok([201, 400].includes(twice.status));
});
test("REG scopes that nobody knows are no way to get them", async () => {
  const answer = await send(minimal({ scope: "admin root mcp:tools:read" }));
  if (answer.status === 400) return assert.ok([META, "invalid_scope"].includes(answer.json.error));
  const page = await authorize(s, await person(s), request(answer.json, pkce(), { scope: undefined }));
  assert.doesNotMatch(visible(page.text), /\b(admin|root)\b/);
});
test("REG C9 a body with thousands of small members", async () => {
  const many = Object.fromEntries(Array.from({ length: 4000 }, (_, i) => [`m${i}`, i]));
  const from = Date.now();
  const answer = await send({ ...minimal(), ...many });
  assert.ok([201, 400, 413].includes(answer.status));
  assert.ok(Date.now() - from < 1_000);
});
test("REG what is stored is what was echoed, also to a later reader", async () => {
  const client = await register(s, { client_name: "Zoë \u202e\u0007 \ud83e\udd80" });
  const page = await authorize(s, await person(s), request(client, pkce()));
  assert.equal(page.status, 200);
  assert.ok(!page.text.includes("\u0007"), "no control characters on a page");
});
test("REG-20 both paths, and none other", async () => {
  for (const path of ["/register", "/oauth/register"]) assert.equal((await postJson(s.at(path), minimal())).status, 201, path);
  for (const path of ["/register/", "/Register", "//register", "/register%2f", "/register;x"]) assert.equal((await postJson(`${s.url}${path}`, minimal())).status, 404, path);
});
test("MET-09 C2 CORS: any origin may register, without credentials", async () => {
  const answer = await send(minimal(), { headers: { origin: "https://inspector.example" } });
  assert.ok(["*", "https://inspector.example"].includes(answer.headers["access-control-allow-origin"]));
  const preflight = await ask(s.at("/register"), { method: "OPTIONS", headers: { origin: "https://inspector.example", "access-control-request-method": "POST", "access-control-request-headers": "content-type,mcp-protocol-version" } });
  assert.ok([200, 204].includes(preflight.status), `${preflight.status}`);
  assert.match(preflight.headers["access-control-allow-methods"] ?? "", /POST/);
  assert.match(preflight.headers["access-control-allow-headers"] ?? "", /content-type|\*/i);
});
for (const method of ["GET", "PUT", "DELETE", "PATCH", "HEAD"]) {
  test(`HTP-04 ${method} /register`, async () => {
    const answer = await ask(s.at("/register"), { method });
    assert.equal(answer.status, 405);
    assert.match(answer.headers.allow ?? "", /POST/);
  });
}
test("REG-17 too many registrations are told to wait", async () => {
  const strict = await service({ limits: true, users: [] });
  try {
    let answer;
    for (let i = 0; i < 400; i += 1) {
      answer = await postJson(strict.at("/register"), minimal());
      if (answer.status !== 201) break;
    }
    assert.equal(answer.status, 429, "a limit was met within 400 registrations");
    assert.match(answer.headers["retry-after"] ?? "", /^\d+$/);
    assert.equal((await get(strict.at("/.well-known/oauth-authorization-server"))).status, 200, "others are served");
  } finally {
    await strict.end();
  }
});
test("C15 after all of this it lives, and wrote down no secret", () => s.assertWell());
