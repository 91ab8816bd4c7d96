// AUZ: what may arrive at the authorization endpoint.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { ALLOW, CALLBACK, RESOURCE, SCOPES, allow, authorize, codeFor, jwt, login, person, pkce, redeem, redirected, refused, register, request } from "../lib/flow.mjs";
import { ask, form, get, withQuery } from "../lib/http.mjs";
import { Browser, visible } from "../lib/page.mjs";
import { service } from "../lib/service.mjs";

const s = await service();
after(() => s.end());
const client = await register(s, { redirect_uris: [CALLBACK] });
const two = await register(s, { redirect_uris: [CALLBACK, "https://app.example/cb"] });
const browser = await person(s);
const proof = pkce();
const usual = (more) => request(client, proof, more);
const journal = () => readdirSync(s.data).map((name) => readFileSync(join(s.data, name), "latin1")).join("");

/** A 400 page without Location, whoever asks. */
async function page400(fields, what = "") {
  for (const who of [browser, new Browser(s.url)]) {
    const answer = await who.ask(typeof fields === "string" ? fields : withQuery(s.at("/oauth/authorize"), fields));
    assert.equal(answer.status, 400, `${what} ${answer.location ?? visible(answer.text).slice(0, 200)}`);
    assert.equal(answer.location, undefined);
    assert.match(answer.type, /text\/html/, "a page");
  }
}

/** A redirecting error for the logged-in, and never one before the login. */
async function goesBack(fields, ...words) {
  const before = await new Browser(s.url).ask(withQuery(s.at("/oauth/authorize"), fields));
  assert.ok(!before.location?.startsWith(CALLBACK), "C4 nobody is redirected to a self-registered client before the login");
  const answer = await authorize(s, browser, fields);
  const found = redirected(answer);
  assert.ok(words.includes(found.get("error")), `${words}, not ${found}`);
  assert.equal(found.get("state"), "s-123");
  assert.equal(found.get("iss"), s.issuer);
  assert.equal(found.get("code"), null);
  return found;
}

for (const [what, id] of Object.entries({ "of our form": "c_00000000-0000-4000-8000-000000000000", "markup": "<script>alert(1)</script>", "long": "x".repeat(3000), "with NUL": "c_\u0000", "unicode": "ключ", "a path": "../../etc/passwd", "a metadata URL on this machine": "https://localhost/client.json" })) {
  test(`AUZ-01 unknown client_id: ${what}`, async () => {
    await page400(usual({ client_id: id }));
    await page400(usual({ client_id: id, redirect_uri: "https://evil.example/" }));
  });
}
test("AUZ-01 a client_id in another case or with spaces is another one", async () => {
  for (const id of [client.client_id.toUpperCase(), ` ${client.client_id}`, `${client.client_id} `, `${client.client_id}\n`]) {
    if (id !== client.client_id) await page400(usual({ client_id: id }));
  }
});
test("AUZ-02 no client_id, or an empty one", async () => {
  await page400(usual({ client_id: undefined }));
  await page400(usual({ client_id: "" }));
  await page400({});
});
for (const uri of [
  "https://evil.example/cb", `${CALLBACK}/`, `${CALLBACK}?x=1`, `${CALLBACK}#`, CALLBACK.replace("/cb", "/CB"), CALLBACK.replace("/cb", "/x/../cb"), CALLBACK.replace("/cb", "/%63b"), CALLBACK.replace("/cb", "//cb"), CALLBACK.replace("http:", "https:"), CALLBACK.replace("http", "HTTP"),
  CALLBACK.replace("127.0.0.1", "localhost"), CALLBACK.replace("127.0.0.1", "[::1]"), CALLBACK.replace("127.0.0.1", "127.1"), CALLBACK.replace("127.0.0.1", "user@127.0.0.1"), CALLBACK.replace("127.0.0.1", "127.0.0.1.evil.example"),
  CALLBACK.replace(":7777", ":0"), CALLBACK.replace(":7777", ":65536"), CALLBACK.replace(":7777", ":"), CALLBACK.replace(":7777", ":+80"), CALLBACK.replace(":7777", ":٣"), CALLBACK.replace(":7777", ":80@evil.example"), CALLBACK.replace(":7777", ":7777\\@evil.example"), ` ${CALLBACK}`, `${CALLBACK} `, `${CALLBACK}\t`, `${CALLBACK}%00`, "javascript:alert(1)", "urn:ietf:wg:oauth:2.0:oob", "127.0.0.1:7777/cb",
]) {
  test(`AUZ-03 C3 redirect_uri ${JSON.stringify(uri)}`, () => page400(usual({ redirect_uri: uri })));
}
test("AUZ-03 an https redirect's port is not free", async () => {
  const web = await register(s, { redirect_uris: ["https://app.example/cb"] });
  for (const uri of ["https://app.example:444/cb", "https://app.example:443/cb", "https://APP.example/cb", "https://app.example./cb", "https://app.example/cb?", "http://app.example/cb"]) await page400(request(web, proof, { redirect_uri: uri }));
});
test("AUZ-04 no redirect_uri, two registered", async () => {
  await page400(request(two, proof, { redirect_uri: undefined }));
  await page400(request(two, proof, { redirect_uri: "" }));
});
test("AUZ-05 no redirect_uri, one registered", async () => {
  const found = await allow(s, browser, usual({ redirect_uri: undefined }), CALLBACK);
  assert.ok(found.get("code"));
});
for (const [registered, asked] of [
  ["http://127.0.0.1/cb", "http://127.0.0.1:49152/cb"], ["http://[::1]/cb", "http://[::1]:49152/cb"], ["http://localhost/cb", "http://localhost:49152/cb"],
  ["http://127.0.0.1:3001/cb?x=1", "http://127.0.0.1:3002/cb?x=1"], ["http://localhost:8080", "http://localhost:9090"], ["http://127.0.0.1:8080/cb", "http://127.0.0.1/cb"],
]) {
  test(`AUZ-06 ${registered} met by ${asked}`, async () => {
    const native = await register(s, { redirect_uris: [registered] });
    assert.ok((await allow(s, browser, request(native, proof, { redirect_uri: asked }), asked)).get("code"));
  });
}
test("AUZ-07 no response_type", async () => {
  await goesBack(usual({ response_type: undefined }), "invalid_request");
  await goesBack(usual({ response_type: "" }), "invalid_request");
});
for (const type of ["token", "id_token", "code token", "token code", "CODE", "code code", "none", " code", "x"]) {
  test(`AUZ-08 response_type ${type}`, () => goesBack(usual({ response_type: type }), "unsupported_response_type"));
}
test("AUZ-09 no code_challenge", async () => {
  await goesBack(usual({ code_challenge: undefined, code_challenge_method: undefined }), "invalid_request");
  await goesBack(usual({ code_challenge: "" }), "invalid_request");
  await goesBack(usual({ code_challenge: undefined }), "invalid_request");
});
for (const method of ["confidential", "unnamed"]) {
  test(`AUZ-09 C6 PKCE for every client, also a ${method} one`, async () => {
    const other = await register(s, { token_endpoint_auth_method: method === "confidential" ? "client_secret_basic" : undefined });
    await goesBack(request(other, undefined), "invalid_request");
  });
}
for (const method of ["plain", "PLAIN", "s256", "S512", "", undefined, "S256 plain"]) {
  test(`AUZ-10 code_challenge_method ${method}`, () => goesBack(usual({ code_challenge_method: method }), "invalid_request"));
}
for (const challenge of ["x", proof.challenge.slice(1), `${proof.challenge}A`, `${proof.challenge}=`, proof.challenge.replace(/.$/, "+"), proof.challenge.replace(/.$/, "é"), ` ${proof.challenge}`, "A".repeat(9000)]) {
  test(`AUZ-09 a code_challenge that is none: ${challenge.slice(0, 50)}`, () => goesBack(usual({ code_challenge: challenge }), "invalid_request"));
}
for (const [name, values] of [["redirect_uri", [CALLBACK, "https://evil.example/"]], ["redirect_uri", ["https://evil.example/", CALLBACK]], ["redirect_uri", [CALLBACK, CALLBACK]], ["redirect_uri", [CALLBACK, ""]], ["client_id", [client.client_id, "c_x"]], ["client_id", ["c_x", client.client_id]], ["client_id", [client.client_id, client.client_id]]]) {
  test(`AUZ-11 ${name} twice: ${values.map((v) => v.slice(0, 24))}`, () => {
    const rest = Object.entries(usual({ [name]: undefined })).filter(([, value]) => value !== undefined);
    return page400(`${s.at("/oauth/authorize")}?${form([...rest, ...values.map((value) => [name, value])])}`);
  });
}
for (const name of ["response_type", "scope", "code_challenge", "code_challenge_method", "prompt"]) {
  test(`AUZ-11 C4 ${name} twice is an invalid request`, async () => {
    const fields = [...Object.entries(usual()), [name, usual()[name] ?? "login"], ...(name === "prompt" ? [["prompt", "consent"]] : [])];
    const answer = await browser.open(`${s.at("/oauth/authorize")}?${form(fields)}`);
    if (answer.status === 400) return assert.equal(answer.location, undefined);
    assert.equal(redirected(answer).get("error"), "invalid_request");
  });
}
test("AUZ-11 state twice: no state of the two is trusted", async () => {
  const answer = await browser.open(`${s.at("/oauth/authorize")}?${form([...Object.entries(usual()), ["state", "other"]])}`);
  if (answer.status === 400) return assert.equal(answer.location, undefined);
  assert.equal(redirected(answer).get("error"), "invalid_request");
});
for (const scope of ["admin", "mcp:tools:read admin", "mcp:tools:read\tx", 'a"b', "x".repeat(2000), "MCP:TOOLS:READ", "mcp:*"]) {
  test(`AUZ-12 scope ${scope.slice(0, 40)}`, async () => {
    const answer = await authorize(s, browser, usual({ scope }));
    if (answer.status === 200) {
      const code = redirected(await browser.submit(answer, { press: ALLOW, follow: false })).get("code");
      const got = await redeem(s, client, { code, verifier: proof.verifier, redirect_uri: CALLBACK });
      assert.equal(got.status, 200, got.text);
      const granted = (got.json.scope ?? "").split(" ");
      assert.ok(!granted.some((one) => !["mcp:tools:read", "mcp:tools:execute", "mcp:resources", "mcp:tools", "offline_access"].includes(one)), got.json.scope);
      return;
    }
    assert.equal(redirected(answer).get("error"), "invalid_scope");
  });
}
for (const resource of ["https://evil.example/mcp", "urn:mcp:stdio:", "urn:mcp:stdio:a/b", "urn:other:x", "not a uri", "https://evil.example/#x", "javascript:1", `${RESOURCE}#x`, `${RESOURCE}?x`, "x".repeat(3000)]) {
  test(`AUZ-13 resource ${resource.slice(0, 40)}`, () => goesBack(usual({ resource }), "invalid_target"));
}
test("AUZ-14 a resource with scheme and namespace in capitals is the canonical one", async () => {
  const code = await codeFor(s, browser, client, { resource: "URN:MCP:STDIO:default" });
  const got = await redeem(s, client, code);
  assert.equal(got.status, 200, got.text);
  assert.deepEqual([jwt(got.json.access_token).claims.aud].flat(), [RESOURCE]);
});
test("AUZ-15 two resources", async () => {
  const fields = [...Object.entries(usual()), ["resource", "urn:mcp:stdio:other"]];
  const answer = await browser.open(`${s.at("/oauth/authorize")}?${form(fields)}`);
  if (answer.status === 400) return assert.equal(answer.location, undefined);
  assert.equal(redirected(answer).get("error"), "invalid_target");
});
test("AUZ-16 C4 empty is absent", async () => {
  const found = await allow(s, browser, usual({ scope: "", state: "", resource: "", prompt: "", nonce: "" }));
  assert.ok(found.get("code"));
  assert.equal(found.get("state"), null, "no state was sent, so none comes back");
});
test("AUZ-17 AUZ-24 unrecognised parameters, and our own words, are ignored", async () => {
  const found = await allow(s, browser, usual({ foo: "bar", error: "access_denied", code: "evil", iss: "https://evil.example", error_description: "x", client_secret: "s", "utm_source[]": "é", "%": "%" }));
  assert.notEqual(found.get("code"), "evil");
  assert.equal(found.get("error"), null);
  assert.equal(found.get("iss"), s.issuer);
});
test("AUZ-18 AUZ-19 success: code, state, iss, nothing else; by 303", async () => {
  const page = await authorize(s, browser, usual());
  const answer = await browser.submit(page, { press: ALLOW, follow: false });
  assert.ok([302, 303].includes(answer.status));
  assert.match(answer.headers["cache-control"], /no-store/);
  const found = redirected(answer);
  assert.deepEqual([...found.keys()].sort(), ["code", "iss", "state"]);
  assert.equal(found.get("iss"), s.issuer);
  assert.equal(found.get("state"), "s-123");
  assert.equal(new URL(answer.location).hash, "");
});
for (const state of ["%41%20+&=#?/;", "a b", "é漢字🦀", "x".repeat(2048), "%F0%9F", "<script>", "a\\b\"c'", "x=1&code=evil&iss=https://evil.example", " lead and trail ", "%", "%zz", "+", "a\u0000b".replace("\u0000", "")]) {
  test(`AUZ-20 state comes back byte for byte: ${state.slice(0, 30)}`, async () => {
    const page = await authorize(s, browser, usual({ state }));
    const answer = await browser.submit(page, { press: ALLOW, follow: false });
    const found = redirected(answer);
    assert.equal(found.get("state"), state);
    assert.equal(found.getAll("code").length, 1);
    assert.notEqual(found.get("code"), "evil");
    assert.equal(found.get("iss"), s.issuer);
  });
}
for (const state of ["a\r\nX-Injected: 1\r\n\r\n<script>alert(1)</script>", "\n", "\t", "\u0000", "\u2028\u2029", "\ufeff"]) {
  test(`AUZ-20 a state with control characters injects nothing: ${JSON.stringify(state).slice(0, 20)}`, async () => {
    const answer = await authorize(s, browser, usual({ state }));
    if (answer.status === 400) return;
    const end = answer.status === 200 ? await browser.submit(answer, { press: ALLOW, follow: false }) : answer;
    assert.equal(end.headers["x-injected"], undefined);
    assert.equal(redirected(end).get("state"), state);
    assert.ok(/^[\x21-\x7e]*$/.test(end.location), "the Location is plain ASCII");
  });
}
for (const state of ["%FF", "%C0%80", "%ED%A0%80", "a%80b"]) {
  test(`AUZ-20 C4 a state that is no text does not come back as another one: ${state}`, async () => {
    const answer = await browser.ask(`${s.at("/oauth/authorize")}?${form(usual({ state: undefined }))}&state=${state}`);
    const found = redirected(answer);
    assert.equal(found.get("error"), "invalid_request");
    assert.equal(found.get("state"), null);
  });
}
test("AUZ C4 authorization_details, which only a token exchange heeds, are refused", async () => {
  await goesBack(usual({ authorization_details: '[{"type":"mcp_tool_call","tool":"echo"}]' }), "invalid_authorization_details");
});
test("AUZ-21 a redirect URI with encoded line ends stays encoded", async () => {
  const uri = "https://app.example/cb%0d%0aX-Injected:%201?x=%0a";
  const web = await register(s, { redirect_uris: [uri] });
  const answer = await browser.submit(await authorize(s, browser, request(web, proof)), { press: ALLOW, follow: false });
  assert.ok(answer.location.startsWith(`${uri}&`));
  assert.equal(answer.headers["x-injected"], undefined);
});
test("AUZ-20 no state asked, none answered; an error carries none either", async () => {
  assert.equal((await allow(s, browser, usual({ state: undefined }))).get("state"), null);
  const answer = await authorize(s, browser, usual({ state: undefined, response_type: "token" }));
  assert.equal(redirected(answer).get("state"), null);
});
test("AUZ-20 C9 a state of more than 4 KiB", async () => {
  const answer = await authorize(s, browser, usual({ state: "s".repeat(4097) }));
  assert.ok([400, 414, 302, 303].includes(answer.status), `${answer.status}`);
  if (answer.location) assert.equal(redirected(answer).get("error"), "invalid_request");
});
test("AUZ-21 a redirect URI's own query survives", async () => {
  for (const uri of ["https://app.example/cb?tenant=7&x=%20a+b", "https://app.example/cb?x", "https://app.example/cb?state=mine"]) {
    const web = await register(s, { redirect_uris: [uri] });
    const page = await authorize(s, browser, request(web, proof));
    const answer = await browser.submit(page, { press: ALLOW, follow: false });
    assert.ok(answer.location.startsWith(`${uri}&`), answer.location);
  }
});
test("AUZ-21 a private-use scheme is met as it was registered", async () => {
  const app = await register(s, { redirect_uris: ["com.example.app:/cb"] });
  assert.ok((await allow(s, browser, request(app, proof), "com.example.app:/cb?")).get("code"));
});
for (const method of ["PUT", "DELETE", "PATCH"]) {
  test(`AUZ-22 ${method}`, async () => {
    const answer = await ask(withQuery(s.at("/oauth/authorize"), usual()), { method });
    assert.equal(answer.status, 405);
    assert.match(answer.headers.allow ?? "", /GET/);
  });
}
test("AUZ-22 HEAD issues nothing", async () => {
  const answer = await browser.ask(withQuery(s.at("/oauth/authorize"), usual()), { method: "HEAD" });
  assert.equal(answer.status, 405);
  assert.match(answer.headers.allow ?? "", /GET/);
});
test("AUZ-22 POST with the request in the body works like GET", async () => {
  const answer = await browser.ask(s.at("/oauth/authorize"), { method: "POST", body: form(usual()), headers: { "content-type": "application/x-www-form-urlencoded" } });
  const page = await browser.follow(answer, s.at("/oauth/authorize"));
  assert.equal(page.status, 200, `${page.status} ${page.location}`);
  assert.ok(redirected(await browser.submit(page, { press: ALLOW, follow: false })).get("code"));
});
test("AUZ-22 C4 a parameter in both query and body, or a body of another type", async () => {
  const both = await browser.ask(withQuery(s.at("/oauth/authorize"), usual()), { method: "POST", body: form(usual({ redirect_uri: "https://evil.example/" })), headers: { "content-type": "application/x-www-form-urlencoded" } });
  assert.ok(!both.location?.startsWith("https://evil.example"));
  const json = await browser.ask(s.at("/oauth/authorize"), { method: "POST", body: JSON.stringify(usual()), headers: { "content-type": "application/json" } });
  assert.ok([400, 415].includes(json.status), `${json.status}`);
});
test("AUZ-23 no CORS here, not even for a preflight", async () => {
  const answer = await browser.ask(withQuery(s.at("/oauth/authorize"), usual()), { headers: { origin: "https://evil.example" } });
  assert.equal(answer.headers["access-control-allow-origin"], undefined);
  const preflight = await ask(s.at("/oauth/authorize"), { method: "OPTIONS", headers: { origin: "https://evil.example", "access-control-request-method": "GET" } });
  assert.equal(preflight.headers["access-control-allow-origin"], undefined);
});
test("AUZ-25 a code has 128 random bits, no twin, and is stored only as a hash", async () => {
  const codes = new Set();
  for (let i = 0; i < 4; i += 1) codes.add((await codeFor(s, browser, client)).code);
  assert.equal(codes.size, 4);
  for (const code of codes) {
    assert.ok(code.length >= 22 && /^[\x21-\x7e]+$/.test(code));
    assert.ok(!journal().includes(code));
  }
});
test("AUZ-25 C6 a code is bound to client, redirect, challenge, resource, scope and user", async () => {
  const held = await codeFor(s, browser, client, { scope: "mcp:tools:read" });
  const other = await register(s);
  refused(await redeem(s, other, held), 400, "invalid_grant");
  refused(await redeem(s, client, { ...held, verifier: pkce().verifier }), 400, "invalid_grant");
  refused(await redeem(s, client, { ...held, redirect_uri: "http://127.0.0.1:7777/other" }), 400, "invalid_grant");
  refused(await redeem(s, client, held, { resource: "urn:mcp:stdio:other" }), 400, "invalid_target");
  const got = await redeem(s, client, held);
  assert.equal(got.status, 200, `none of these spent it: ${got.text}`);
  const { claims } = jwt(got.json.access_token);
  assert.equal(claims.scope, "mcp:tools:read");
  assert.equal(claims.sub, "ada");
});
test("AUZ-26 500 requests of unknown clients leave no trace in the store", async () => {
  const before = journal();
  const all = Array.from({ length: 500 }, (_, i) => ask(withQuery(s.at("/oauth/authorize"), usual({ client_id: `c_${i}` }))));
  for (const answer of await Promise.all(all)) assert.equal(answer.status, 400);
  assert.equal(journal(), before);
});
test("AUZ-26 2,000 more take no memory that stays, and others are served meanwhile", { skip: process.platform !== "linux" && "reads /proc" }, async () => {
  const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${s.run.pid}/status`, "utf8"))[1]) / 1024;
  const before = resident();
  for (let round = 0; round < 20; round += 1) {
    const strangers = Promise.all(Array.from({ length: 100 }, (_, i) => ask(withQuery(s.at("/oauth/authorize"), usual({ client_id: `c_${round}_${i}` })))));
    const from = Date.now();
    assert.equal((await ask(s.at("/health"))).status, 200);
    assert.ok(Date.now() - from < 1_000, `${Date.now() - from} ms`);
    await strangers;
  }
  assert.ok(resident() - before < 16, `${before} MiB before, ${resident()} MiB after`);
});
test("AUZ-26 an authorization request that nobody answers leaves no trace in the store", async () => {
  const before = journal();
  for (let i = 0; i < 20; i += 1) await new Browser(s.url).open(withQuery(s.at("/oauth/authorize"), usual({ state: `${i}` })));
  assert.equal(journal(), before);
});
test("prompt, nonce, response_mode and offline_access as real clients send them", async () => {
  const more = { prompt: "consent", nonce: "n", response_mode: "query", access_type: "offline", scope: `${SCOPES} offline_access` };
  const got = await login(s, browser, client, more);
  assert.ok(got.refresh_token);
});
test("AUZ-12 scopes with odd spaces and repeats are one set", async () => {
  for (const scope of ["mcp:tools:read mcp:tools:read", "  mcp:tools:read   "]) {
    const got = await login(s, browser, client, { scope });
    assert.equal(jwt(got.access_token).claims.scope, "mcp:tools:read");
  }
});
test("AUZ parameter names are exact: another case is another parameter", async () => {
  await page400({ Client_Id: client.client_id, CLIENT_ID: client.client_id, response_type: "code" });
  await goesBack(usual({ code_challenge: undefined, code_challenge_method: undefined, Code_Challenge: proof.challenge }), "invalid_request");
  await page400(`${s.at("/oauth/authorize")}?${form(usual()).replaceAll("&", ";")}`, "semicolons do not separate");
  await page400(usual({ client_id: undefined, "client_id[]": client.client_id }));
});
test("prompt: words that contradict each other, and unknown ones", async () => {
  const both = await authorize(s, browser, usual({ prompt: "none login" }));
  if (both.status !== 400) assert.ok(redirected(both).get("error"), "OpenID Connect Core 3.1.2.1: an error");
  for (const prompt of ["select_account", "create", "x", "consent select_account"]) {
    const answer = await authorize(s, browser, usual({ prompt }));
    assert.ok([200, 302, 303, 400].includes(answer.status), prompt);
    assert.ok(!/[?&]code=/.test(answer.location ?? ""), prompt);
  }
});
test("OpenID and other extensions that we do not speak do no harm", async () => {
  const more = { login_hint: "<b>bob</b>", id_token_hint: "x.y.z", max_age: "0", ui_locales: "de fr", acr_values: "x", claims: "{}", authorization_details: "[]", dpop_jkt: "x", audience: "x", display: "popup" };
  const answer = await authorize(s, browser, usual(more));
  assert.equal(answer.status, 200, `${answer.status} ${answer.location}`);
  assert.ok(!answer.text.includes("<b>bob</b>"));
});
test("prompt=none never shows a page", async () => {
  for (const who of [browser, new Browser(s.url)]) {
    const answer = await who.open(withQuery(s.at("/oauth/authorize"), usual({ prompt: "none" })));
    if (answer.status === 400) continue;
    const found = redirected(answer);
    assert.match(found.get("error"), /^(login_required|consent_required|interaction_required)$/);
    assert.equal(found.get("code"), null);
  }
});
test("response_mode other than query gives no code elsewhere", async () => {
  for (const mode of ["fragment", "form_post", "x"]) {
    const answer = await authorize(s, browser, usual({ response_mode: mode }));
    if (answer.status === 200) {
      const done = await browser.submit(answer, { press: ALLOW, follow: false });
      assert.ok(redirected(done).get("code"), "in the query, as always");
    } else if (answer.location) assert.equal(redirected(answer).get("error"), "invalid_request");
    else assert.equal(answer.status, 400);
  }
});
test("a request object is refused, not half read", async () => {
  for (const more of [{ request: "eyJhbGciOiJub25lIn0.e30." }, { request_uri: "https://evil.example/r" }]) {
    const answer = await authorize(s, browser, usual(more));
    if (answer.location) assert.match(redirected(answer).get("error"), /request_not_supported|request_uri_not_supported|invalid_request/);
    else assert.ok([200, 400].includes(answer.status));
  }
});
test("C9 200 parameters, and 201; broken percent signs; bytes that are no UTF-8", async () => {
  const many = (n) => Array.from({ length: n }, (_, i) => [`p${i}`, "x"]);
  const fields = Object.entries(usual());
  assert.equal((await browser.open(`${s.at("/oauth/authorize")}?${form([...fields, ...many(200 - fields.length)])}`)).status, 200);
  const over = await browser.open(`${s.at("/oauth/authorize")}?${form([...fields, ...many(201 - fields.length)])}`);
  assert.ok(over.status === 400 || redirected(over).get("error") === "invalid_request", `${over.status}`);
  for (const tail of ["&x=%", "&x=%zz", "&x=%ff%fe", "&%ff=1", "&state=%ff"]) {
    const answer = await browser.ask(`${s.at("/oauth/authorize")}?${form(usual(tail.startsWith("&state") ? { state: undefined } : {}))}${tail}`);
    assert.ok(answer.status < 500);
  }
});
test("AUZ /authorize is the same endpoint", async () => {
  const page = await browser.open(withQuery(s.at("/authorize"), usual()));
  assert.equal(page.status, 200);
});
test("C15 after all of this it lives, and wrote down no secret", () => s.assertWell());
