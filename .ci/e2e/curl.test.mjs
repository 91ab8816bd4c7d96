// The lines of curl that people paste: register, authorize with PKCE, exchange with a JSON body.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { after, test } from "node:test";
import { ALLOW } from "./lib/flow.mjs";
import { form } from "./lib/http.mjs";
import { filled, forms, loginFields } from "./lib/page.mjs";
import { tempFolder } from "./lib/programs.mjs";
import { remember } from "./lib/secrets.mjs";
import { PASSWORD, service } from "./lib/service.mjs";
import { done, stdioServer, toolRefused } from "./lib/stdio.mjs";

const s = await service();
const dev = await service({ args: ["--auto-approve"], users: [] });
after(() => Promise.all([s.end(), dev.end()]));
const curl = (...args) => execFileSync("curl", ["-sS", "--max-time", "20", ...args], { encoding: "utf8" });
const REDIRECT = "http://localhost:3001/callback";

/** The registration line of the system that this one replaces, word for word but for the port. */
const register = (where, ...more) =>
  JSON.parse(curl("-X", "POST", where.at("/register"), "-H", "Content-Type: application/json", "-d", `{\n    "client_name": "Test Client",\n    "redirect_uris": ["${REDIRECT}"]\n  }`, ...more));

/** The token line, with the verifier that PKCE adds. */
function exchange(where, client, code, verifier) {
  const body = { grant_type: "authorization_code", code, redirect_uri: REDIRECT, client_id: client.client_id, client_secret: client.client_secret, code_verifier: verifier };
  const got = JSON.parse(curl("-X", "POST", where.at("/oauth/token"), "-H", "Content-Type: application/json", "-d", JSON.stringify(body)));
  remember("access token", got.access_token);
  remember("refresh token", got.refresh_token);
  return got;
}

const verifier = () => remember("verifier", randomBytes(32).toString("base64url"));
const challenge = (text) => createHash("sha256").update(text).digest("base64url");
const authorizeUrl = (where, client, proof, more = {}) =>
  `${where.at("/oauth/authorize")}?response_type=code&client_id=${client.client_id}&redirect_uri=${REDIRECT}&code_challenge=${challenge(proof)}&code_challenge_method=S256${Object.entries(more).map(([k, v]) => `&${k}=${v}`).join("")}`;

async function echoes(where, token) {
  const host = stdioServer(where.data);
  try {
    await host.initialize();
    assert.equal(done(await host.call("echo", { message: "Hello from authenticated client!", access_token: token })).structuredContent.authorized, true);
    toolRefused(await host.call("echo", { message: "no token" }));
  } finally {
    await host.end();
  }
}

test("register, authorize, token, call: with --auto-approve, three lines of curl", async () => {
  const client = register(dev);
  assert.ok(client.client_id && client.client_secret, JSON.stringify(client));
  remember("client secret", client.client_secret);
  const proof = verifier();
  const location = curl("-o", "/dev/null", "-w", "%{redirect_url}", authorizeUrl(dev, client, proof, { state: "xyz" }));
  assert.ok(location.startsWith(`${REDIRECT}?`), location);
  const back = new URL(location).searchParams;
  assert.equal(back.get("state"), "xyz");
  const got = exchange(dev, client, remember("code", back.get("code")), proof);
  assert.equal(got.token_type, "Bearer");
  assert.equal(got.expires_in, 3600);
  await echoes(dev, got.access_token);
});
test("register, authorize, token, call: logging in and allowing by curl", async () => {
  const jar = ["-b", join(tempFolder(), "jar")];
  jar.push("-c", jar[1]);
  const client = register(s);
  remember("client secret", client.client_secret);
  const proof = verifier();
  const login = curl("-L", ...jar, authorizeUrl(s, client, proof, { state: "xyz", scope: "mcp:tools" }));
  const names = loginFields({ text: login });
  assert.ok(names, login.slice(0, 400));
  const send = (html, fill, press, ...more) => {
    const found = press ? forms(html).find((one) => one.buttons.some((b) => press.test(b.words))) : forms(html).find((one) => one.method === "post");
    const button = press && found.buttons.find((b) => press.test(b.words));
    return curl(...jar, "-H", `Origin: ${s.url}`, "--data-raw", form(filled(found, fill, button)), ...more, new URL(found.action, s.url).href);
  };
  const consent = send(login, { [names.user]: "ada", [names.password[0]]: PASSWORD }, undefined, "-L", "-w", "\n%{url_effective}");
  const html = consent.includes("<form") ? consent : curl("-L", ...jar, authorizeUrl(s, client, proof, { state: "xyz", scope: "mcp:tools" }));
  const location = send(html, {}, ALLOW, "-o", "/dev/null", "-w", "%{redirect_url}");
  assert.ok(location.startsWith(`${REDIRECT}?`), location);
  const got = exchange(s, client, remember("code", new URL(location).searchParams.get("code")), proof);
  await echoes(s, got.access_token);
});
test("a registration as a seed client sends it, without a method, and a scope", () => {
  const client = JSON.parse(curl("-X", "POST", s.at("/oauth/register"), "-H", "Content-Type: application/json", "-d", JSON.stringify({ redirect_uris: ["http://localhost:3000/callback"], client_name: "MCP DCR Client", scope: "mcp:tools:read mcp:tools:execute" })));
  assert.ok(client.client_id);
});
test("the index, health and both metadata documents answer plain curl", () => {
  for (const path of ["/", "/health", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/oauth/jwks"]) {
    const code = curl("-o", "/dev/null", "-w", "%{http_code}", s.at(path));
    assert.equal(code, "200", path);
  }
});
