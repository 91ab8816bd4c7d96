// ARG and JWT: what may come as a token or an argument, and who may call what.

import assert from "node:assert/strict";
import { createHmac, createPublicKey, generateKeyPairSync } from "node:crypto";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { clean, decode, encode, forger } from "../lib/forge.mjs";
import { RESOURCE, login, person, refresh, register } from "../lib/flow.mjs";
import { get } from "../lib/http.mjs";
import { tempFolder } from "../lib/programs.mjs";
import { service } from "../lib/service.mjs";
import { done, meta, stdioServer, toolRefused } from "../lib/stdio.mjs";
import { until } from "../lib/wait.mjs";

const early = join(tempFolder("store"), "data");
// Started before there is a store, let alone a token: it must see both come.
const waiting = stdioServer(early);
const s = await service({ data: early, users: ["ada", "bob"] });
const root = tempFolder("files");
mkdirSync(join(root, "sub"));
writeFileSync(join(root, "a.txt"), "a");
writeFileSync(join(root, "sub", "b.txt"), "b");
symlinkSync("/etc", join(root, "out"));
symlinkSync("/etc/passwd", join(root, "passwd"));
const legacy = stdioServer(s.data, { args: ["--samples", "--files-root", root] });
const modern = stdioServer(s.data, { args: ["--samples", "--files-root", root] });
after(() => Promise.all([s.end(), legacy.end(), modern.end(), waiting.end()]));
await legacy.initialize();
const hosts = { legacy, modern };
const [ada, bob] = [await person(s), await person(s, "bob")];
const client = await register(s);
const good = await login(s, ada, client);
const { kid: ourKid, head, body, signature, signed, forged } = forger(s.data, good.access_token);
const echo = (host, token, more) => host.call("echo", { message: "hello", ...(token !== undefined && { access_token: token }) }, more);
const wordOf = (result) => result.structuredContent?.error ?? JSON.parse(result.content[0].text.match(/\{.*\}/s)?.[0] ?? "{}").error;

for (const [era, host] of Object.entries(hosts)) {
  test(`${era}: an authorised echo, and what it says`, async () => {
    const result = done(await echo(host, good.access_token));
    assert.deepEqual(result.structuredContent, { echo: "hello", authorized: true, length: 5 });
    assert.deepEqual(JSON.parse(result.content[0].text), result.structuredContent);
  });
  test(`${era}: the token in _meta`, async () => {
    const extra = { "authz/access_token": good.access_token };
    done(await host.call("echo", { message: "m" }, { _meta: era === "legacy" ? extra : meta(extra) }));
  });
  test(`ARG-01 ${era}: no token`, async () => {
    for (const args of [{ message: "m" }, { message: "m", access_token: "" }]) {
      const result = toolRefused(await host.call("echo", args));
      assert.match(result.content[0].text, /authoriz|log ?in|token/i);
      assert.ok(wordOf(result), `machine-readable: ${JSON.stringify(result)}`);
    }
  });
  test(`ARG-02 ${era}: expired, unknown, garbage: no difference`, async () => {
    const seen = [];
    for (const token of ["garbage", "a.b.c", "x".repeat(5000), good.refresh_token, forged({ exp: 1 }), forged({ jti: "00000000-0000-4000-8000-000000000000" })]) seen.push(toolRefused(await echo(host, token), "invalid_token"));
    for (const one of seen) assert.deepEqual(one, seen[0]);
  });
  test(`ARG-06 ${era}: arguments of a wrong type, or missing`, async () => {
    for (const [args, name] of [[{ message: 7 }, "message"], [{ message: null }, "message"], [{}, "message"], [{ message: ["secretvalue"] }, "message"], [{ message: { secretvalue: 1 } }, "message"]]) {
      const answer = await host.call("echo", { ...args, access_token: good.access_token });
      const text = JSON.stringify(answer.error ?? answer.result);
      assert.ok(answer.error?.code === -32602 || answer.result?.isError, text);
      assert.ok(text.includes(name), text);
      assert.ok(!text.includes("secretvalue"), "not its value");
    }
    for (const token of [7, {}, [], true]) {
      const answer = await echo(host, token);
      assert.ok(answer.error?.code === -32602 || answer.result?.isError, JSON.stringify(answer));
    }
  });
  test(`ARG-07 ${era}: the token argument is marked as sensitive`, async () => {
    const { tools } = done(await (era === "legacy" ? host.ask("tools/list", {}) : host.modern("tools/list")));
    const schema = tools.find((tool) => tool.name === "echo").inputSchema;
    assert.equal(schema.properties.access_token.writeOnly, true);
    assert.match(schema.properties.access_token.description, /token/i);
    assert.ok(!(schema.required ?? []).includes("access_token"));
    assert.ok(!JSON.stringify(tools).includes("x-mcp-header"));
    for (const tool of tools) {
      assert.equal(tool.inputSchema.type, "object", tool.name);
      assert.ok(tool.outputSchema, `${tool.name} has an output schema`);
      assert.ok(tool.description.length > 10);
    }
    for (const name of ["public_info", "echo", "whoami", "get_time", "get_weather", "list_files", "get_user_profile"]) assert.ok(tools.some((tool) => tool.name === name), name);
  });
  test(`ARG-13 ${era}: two people on one process, each judged alone`, async () => {
    const other = await login(s, bob, client);
    for (let i = 0; i < 3; i += 1) {
      assert.match(JSON.stringify(done(await host.call("whoami", { access_token: good.access_token }))), /"ada"/);
      assert.match(JSON.stringify(done(await host.call("whoami", { access_token: other.access_token }))), /"bob"/);
      toolRefused(await host.call("whoami", {}));
    }
  });
  test(`ARG-08 ${era}: a token is never echoed, wherever it stands`, async () => {
    const answers = [
      await echo(host, `${good.access_token}x`), await host.call(good.access_token, {}), await host.call("echo", { message: 7, access_token: good.access_token, [good.access_token]: 1 }),
      await host.call("list_files", { path: good.access_token, access_token: good.access_token }), await host.call("get_weather", { location: 7, access_token: good.access_token }),
    ];
    for (const answer of answers) assert.ok(!JSON.stringify(answer).includes(good.access_token), "echoed back");
  });
  test(`ARG-10 ${era}: list_files stays below its root`, async () => {
    const list = (path, more) => host.call("list_files", { path, access_token: good.access_token, ...more });
    assert.match(JSON.stringify(done(await list("."))), /a\.txt/);
    assert.match(JSON.stringify(done(await list("sub"))), /b\.txt/);
    for (const path of ["..", "../", "sub/../..", "/", "/etc", "//etc", "out", "out/ssl", "a\u0000b", "\\..\\..", "....//", "/dev/zero", "/proc/self", "sub/../../etc", "~", "%2e%2e", "x".repeat(5000), "passwd"]) {
      const answer = await list(path);
      const text = JSON.stringify(answer);
      assert.ok(!/root:|hostname|passwd-|shadow|"bin"/.test(text), `${path}: ${text.slice(0, 300)}`);
      if (path !== "passwd") assert.ok(answer.result?.isError || answer.error?.code === -32602, `${path}: ${text.slice(0, 300)}`);
    }
  });
  test(`ARG-11 ${era}: a pattern that explodes takes bounded time`, async () => {
    const from = Date.now();
    for (const pattern of ["*a".repeat(2000), "**/".repeat(500), "[".repeat(3000), "{a,b}".repeat(40), "(a+)+$"]) await host.call("list_files", { path: ".", pattern, access_token: good.access_token });
    assert.ok(Date.now() - from < 3_000, `${Date.now() - from} ms`);
  });
  test(`ARG-12 ${era}: text with URLs and markup goes through as data`, async () => {
    const message = "<script> http://127.0.0.1:1/ \u001b[31m \u202e {{7*7}} $ref \ud83e\udd80";
    const result = done(await host.call("echo", { message, access_token: good.access_token }));
    assert.equal(result.structuredContent.echo, message);
    assert.equal(result.structuredContent.authorized, true);
  });
  test(`ARG-06 ${era}: arguments that nobody asked for, none at all, and big ones`, async () => {
    for (const args of [{ x: 1 }, { access_tokens: "x" }, { "": null }]) {
      const answer = await host.call("public_info", args);
      assert.ok(answer.result || answer.error.code === -32602, JSON.stringify(answer));
    }
    done(await (era === "legacy" ? host.ask("tools/call", { name: "public_info" }) : host.modern("tools/call", { name: "public_info" })));
    const message = "ä".repeat(1024 * 1024);
    assert.equal(done(await host.call("echo", { message, access_token: good.access_token })).structuredContent.echo, message);
  });
  test(`C11 ${era}: a token in _meta that is no text, or bad, or beside a good argument`, async () => {
    const place = (value) => ({ _meta: era === "legacy" ? { "authz/access_token": value } : meta({ "authz/access_token": value }) });
    for (const value of [7, {}, [], true, null, ""]) {
      const answer = await host.call("echo", { message: "m" }, place(value));
      assert.ok(answer.error?.code === -32602 || answer.result?.isError, JSON.stringify(answer));
    }
    toolRefused(await host.call("echo", { message: "m" }, place("garbage")), "invalid_token");
    for (const [inMeta, argument] of [["garbage", good.access_token], [good.access_token, "garbage"]]) {
      const answer = await host.call("whoami", { access_token: argument }, place(inMeta));
      assert.ok(!JSON.stringify(answer).includes(good.access_token));
    }
  });
  test(`STD-03 ${era}: what is not offered is an error, and no crash`, async () => {
    for (const [method, params] of [["resources/list", {}], ["resources/read", { uri: "file:///etc/passwd" }], ["prompts/list", {}], ["prompts/get", { name: "x" }], ["resources/subscribe", { uri: "x" }], ["completion/complete", {}], ["sampling/createMessage", {}], ["roots/list", {}], ["elicitation/create", {}]]) {
      const answer = await (era === "legacy" ? host.ask(method, params) : host.modern(method, params));
      assert.ok(answer.error || answer.result, method);
      if (answer.error) assert.ok([-32601, -32602].includes(answer.error.code), `${method}: ${JSON.stringify(answer.error)}`);
      else assert.ok(!JSON.stringify(answer).includes("root:"), method);
    }
  });
  test(`ARG-05 ${era}: a cursor that nobody gave`, async () => {
    for (const cursor of ["x", "", 7, "x".repeat(10_000)]) {
      const answer = await (era === "legacy" ? host.ask("tools/list", { cursor }) : host.modern("tools/list", { cursor }));
      assert.ok(answer.result?.tools || answer.error?.code === -32602, JSON.stringify(answer).slice(0, 200));
    }
  });
  test(`${era}: 200 calls in flight, good and bad mixed, each with its own answer`, async () => {
    const all = await Promise.all(Array.from({ length: 200 }, (_, i) => host.call("echo", { message: `m${i}`, ...(i % 2 && { access_token: good.access_token }) })));
    all.forEach((answer, i) => (i % 2 ? assert.equal(done(answer).structuredContent.echo, `m${i}`) : toolRefused(answer)));
  });
}

test("a server that started before the store existed sees the token", async () => {
  await waiting.initialize();
  await until("the store to be seen", async () => !(await echo(waiting, good.access_token)).result.isError);
});
test("a token in the environment opens the tools; an argument wins over it", async () => {
  const host = stdioServer(s.data, { env: { MCP_ACCESS_TOKEN: good.access_token } });
  try {
    done(await host.call("echo", { message: "m" }));
    toolRefused(await echo(host, "garbage"), "invalid_token");
    const list = await host.modern("tools/list");
    assert.ok(!JSON.stringify(list).includes(good.access_token));
    await host.assertWell();
  } finally {
    await host.end();
  }
});
test("--token-argument off: not offered, and not taken", async () => {
  const host = stdioServer(s.data, { args: ["--token-argument", "off"] });
  try {
    assert.ok(!JSON.stringify(done(await host.modern("tools/list"))).includes("access_token"));
    const answer = await echo(host, good.access_token);
    assert.ok(answer.error?.code === -32602 || answer.result?.isError, JSON.stringify(answer));
    const extra = { "authz/access_token": good.access_token };
    done(await host.call("echo", { message: "m" }, { _meta: meta(extra) }));
  } finally {
    await host.end();
  }
});
test("ARG-03 a token without the scope names every scope that is needed", async () => {
  const small = await login(s, ada, client, { scope: "mcp:resources" });
  for (const host of [legacy, modern]) {
    const result = toolRefused(await echo(host, small.access_token), "insufficient_scope");
    assert.match(JSON.stringify(result), /mcp:tools/);
  }
});
test("ARG-04 a token for another resource", async () => {
  const other = await login(s, ada, client, { resource: "urn:mcp:stdio:other" });
  toolRefused(await echo(modern, other.access_token), "invalid_token");
  const theirs = stdioServer(s.data, { args: ["--name", "other"] });
  done(await echo(theirs, other.access_token));
  toolRefused(await echo(theirs, good.access_token), "invalid_token");
  await theirs.end();
});
test("STD-21 two servers on one store see a revocation at the next call", async () => {
  const mine = await login(s, ada, client);
  for (const host of [legacy, modern]) done(await echo(host, mine.access_token));
  const second = (await refresh(s, client, mine.refresh_token)).json;
  await refresh(s, client, second.refresh_token);
  await refresh(s, client, mine.refresh_token); // a replay: the family dies
  for (const host of [legacy, modern]) toolRefused(await echo(host, mine.access_token), "invalid_token");
});

// Tokens made with the service's own key: the claims alone must refuse them.
const bad = async (token) => {
  for (const host of [legacy, modern]) toolRefused(await echo(host, token), "invalid_token");
};

test("JWT the way of forging is right: unchanged claims pass", async () => {
  done(await echo(modern, forged()));
  done(await echo(modern, forged({ aud: [RESOURCE, "https://other.example/"] })));
});
for (const alg of ["none", "None", "NONE", "nOnE", "", undefined]) {
  test(`JWT-01 alg ${alg}`, async () => {
    const text = `${encode(clean({ ...decode(head), alg }))}.${body}`;
    for (const token of [`${text}.`, text, `${text}.${signature}`, `${text}..`]) await bad(token);
  });
}
test("JWT-01 an empty signature under the real header", async () => {
  await bad(`${head}.${body}.`);
  await bad(`${head}.${body}`);
});
test("JWT-02 HMAC with the public key's bytes", async () => {
  const jwk = (await get(s.meta.jwks_uri)).json.keys[0];
  const key = createPublicKey({ key: jwk, format: "jwk" });
  const pem = key.export({ format: "pem", type: "spki" });
  for (const secret of [pem, pem.trim(), key.export({ format: "der", type: "spki" }), JSON.stringify(jwk), jwk.x, Buffer.from(jwk.x, "base64url"), ""]) {
    for (const alg of ["HS256", "HS384", "HS512"]) {
      const text = `${encode({ ...decode(head), alg })}.${body}`;
      await bad(`${text}.${createHmac(alg.replace("HS", "sha"), secret).update(text).digest("base64url")}`);
    }
  }
});
test("JWT-02 another algorithm or another key", async () => {
  const other = generateKeyPairSync("ec", { namedCurve: "P-256" });
  await bad(forged({}, {}, { key: other.privateKey }));
  const jwk = other.publicKey.export({ format: "jwk" });
  await bad(forged({}, { jwk }, { key: other.privateKey }));
  await bad(forged({}, { jwk, kid: undefined }, { key: other.privateKey }));
  await bad(forged({}, { jku: `${s.url}/oauth/jwks`, x5u: "https://evil.example/", x5c: ["AAAA"] }, { key: other.privateKey }));
  for (const alg of ["RS256", "PS256", "ES384", "EdDSA", "HS256", "es256"]) await bad(forged({}, { alg }));
});
for (const kid of [undefined, "", "unknown", "../../../../etc/passwd", "https://evil.example/jwks", "' OR '1'='1", "x".repeat(100 * 1024), "\u0000", 7, null, ["x"], `${ourKid} `, ourKid.toUpperCase()]) {
  test(`JWT-03 kid ${JSON.stringify(kid)?.slice(0, 40)}`, () => bad(forged({}, { kid })));
}
for (const [what, claims] of Object.entries({
  "expired": { exp: 1 }, "expired a moment ago": { exp: Math.floor(Date.now() / 1000) - 120 }, "without exp": { exp: undefined }, "exp as text": { exp: "9999999999" }, "exp negative": { exp: -1 }, "exp huge": { exp: 1e300 }, "exp null": { exp: null },
  "not yet valid": { nbf: Math.floor(Date.now() / 1000) + 600 }, "issued in the future": { iat: Math.floor(Date.now() / 1000) + 600 }, "without iat": { iat: undefined },
})) test(`JWT-04 ${what}`, () => bad(forged(claims)));
for (const iss of ["ISSUER/", "HTTP", "https://evil.example", "", undefined, ["ISSUER"], null]) {
  test(`JWT-05 iss ${JSON.stringify(iss)}`, () => bad(forged({ iss: iss === "HTTP" ? s.issuer.toUpperCase() : typeof iss === "string" ? iss.replace("ISSUER", s.issuer) : Array.isArray(iss) ? [s.issuer] : iss })));
}
for (const aud of ["urn:mcp:stdio:other", ["urn:mcp:stdio:other"], [], "", undefined, null, `${RESOURCE}/`, RESOURCE.toUpperCase(), [[RESOURCE]], { a: RESOURCE }, `${RESOURCE} x`]) {
  test(`JWT-06 aud ${JSON.stringify(aud)}`, () => bad(forged({ aud })));
}
test("JWT-07 any byte of any part changed", async () => {
  const token = good.access_token;
  const step = Math.max(1, Math.floor(token.length / 60));
  for (let at = 0; at < token.length; at += step) {
    const other = token[at] === "A" ? "B" : "A";
    // The last character of a base64url part has bits that say nothing; a strict decoder refuses them anyway.
    await bad(token.slice(0, at) + other + token.slice(at + 1));
  }
  await bad(`${token}=`);
  await bad(token.slice(0, -1));
  const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".indexOf(token.at(-1));
  await bad(token.slice(0, -1) + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1]);
});
test("JWT-08 a good signature over a jti that the store does not know", async () => {
  for (const jti of ["00000000-0000-4000-8000-000000000000", "x", "", undefined, 7, decode(body).jti.slice(1), ` ${decode(body).jti}`]) await bad(forged({ jti }));
});
for (const claims of [{ sub: "bob" }, { sub: undefined }, { client_id: "c_other" }, { client_id: undefined }]) {
  test(`JWT-08 C11 a client or person that the record of the jti does not name: ${JSON.stringify(claims)}`, () => bad(forged(claims)));
}
test("JWT-08 a scope beyond the record of the jti", async () => {
  const small = await login(s, ada, client, { scope: "mcp:resources" });
  const swollen = { ...decode(small.access_token.split(".")[1]), scope: "mcp:tools:read mcp:tools:execute" };
  for (const host of [legacy, modern]) toolRefused(await echo(host, forged(swollen)), "insufficient_scope", "invalid_token");
});
test("JWT-10 a signature of zeros, of ones, in DER, doubled, or too short", async () => {
  for (const bytes of [Buffer.alloc(64), Buffer.alloc(64, 0xff), Buffer.alloc(0), Buffer.concat([Buffer.from(signature, "base64url"), Buffer.from(signature, "base64url")]), Buffer.from(signature, "base64url").subarray(0, 63)]) await bad(`${head}.${body}.${bytes.toString("base64url")}`);
  await bad(forged({}, {}, { dsaEncoding: "der" }));
});
for (const typ of ["JWT", "jwt", undefined, "", "at+JWT+x", "id_token", "application/jwt", "refresh", 7]) {
  test(`JWT-13 typ ${typ}`, () => bad(forged({}, { typ })));
}
test("JWT-13 a refresh token, a code, a client secret, a client id", async () => {
  const confidential = await register(s, { token_endpoint_auth_method: "client_secret_basic" });
  for (const token of [good.refresh_token, good.held.code, confidential.client_secret, client.client_id, ourKid]) await bad(token);
});
test("JWT-14 a prefix, a suffix, another case, space around, Bearer in front", async () => {
  const token = good.access_token;
  for (const one of [token.slice(0, -4), token.slice(1), token.toUpperCase(), token.toLowerCase(), ` ${token}`, `${token}\n`, `Bearer ${token}`, `"${token}"`, `${token}.${token}`, `${token}.x`, `.${token}`, token.replaceAll("-", "+").replaceAll("_", "/")]) if (one !== token) await bad(one);
});
for (const header of [{ crit: ["exp"] }, { crit: ["b64"], b64: false }, { crit: ["x"], x: 1 }, { crit: [] }]) {
  test(`JWT RFC 7515 4.1.11 a critical header that nobody understands: ${JSON.stringify(header)}`, () => bad(forged({}, header)));
}
test("JWT a header or payload with a member twice", async () => {
  const raw = (h, p) => signed(`${Buffer.from(h).toString("base64url")}.${Buffer.from(p).toString("base64url")}`);
  const [h, p] = [Buffer.from(head, "base64url").toString(), Buffer.from(body, "base64url").toString()];
  await bad(raw(h, p.replace(/^{/, '{"exp":9999999999,"sub":"bob",')));
  await bad(raw(h, "[]"));
  await bad(raw(h, "null"));
  await bad(raw("[]", p));
  await bad(raw(h, `${p}x`));
  await bad(raw(h, Buffer.from([0xff, 0xfe])));
});
test("C15 after all of this everything lives, and wrote down no secret", async () => {
  await s.assertWell();
  for (const host of [legacy, modern, waiting]) await host.assertWell();
});
