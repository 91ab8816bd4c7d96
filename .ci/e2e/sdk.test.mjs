// The official TypeScript SDKs: 2.x in each era, and 1.x, as hosts use them; their OAuth clients against the service.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import * as v2 from "@modelcontextprotocol/client";
import { StdioClientTransport as Stdio2 } from "@modelcontextprotocol/client/stdio";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as Stdio1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import * as auth1 from "@modelcontextprotocol/sdk/client/auth.js";
import { ALLOW, CALLBACK, RESOURCE, SCOPES, logIn, login, person, redirected, register } from "./lib/flow.mjs";
import { ask, post } from "./lib/http.mjs";
import { Browser } from "./lib/page.mjs";
import { cleanEnv, program, tempFolder } from "./lib/programs.mjs";
import { remember } from "./lib/secrets.mjs";
import { service } from "./lib/service.mjs";

const s = await service();
const dev = await service({ args: ["--auto-approve"], users: [] });
after(() => Promise.all([s.end(), dev.end()]));
const browser = await person(s);
const app = await register(s);

/** Each way in which an official SDK connects. */
const hosts = {
  "2.x legacy": () => [new v2.Client({ name: "e2e", version: "1" }), Stdio2],
  "2.x 2026-07-28": () => [new v2.Client({ name: "e2e", version: "1" }, { versionNegotiation: { mode: { pin: "2026-07-28" } } }), Stdio2],
  "2.x auto": () => [new v2.Client({ name: "e2e", version: "1" }, { versionNegotiation: { mode: "auto" } }), Stdio2],
  "1.x": () => [new Client1({ name: "e2e", version: "1" }), Stdio1],
};

async function connected(make, body) {
  const [client, Transport] = make();
  const transport = new Transport({ command: program("mcp-stdio-server"), args: ["--data", s.data, "--samples", "--files-root", tempFolder()], env: cleanEnv(), stderr: "pipe" });
  let log = "";
  transport.stderr?.on("data", (part) => (log += part));
  await client.connect(transport);
  try {
    await body(client, () => log);
  } finally {
    await client.close();
  }
}

for (const [name, make] of Object.entries(hosts)) {
  test(`${name}: lists the tools, and calls them under their output schemas`, () => connected(make, async (client) => {
    const { tools } = await client.listTools();
    const names = tools.map((tool) => tool.name);
    for (const one of ["public_info", "echo", "whoami", "get_time", "get_weather", "list_files", "get_user_profile"]) assert.ok(names.includes(one), `${names}`);
    const info = await client.callTool({ name: "public_info", arguments: {} });
    assert.notEqual(info.isError, true);
    const { access_token } = await login(s, browser, app);
    for (const [tool, args] of [["echo", { message: "m" }], ["whoami", {}], ["get_time", {}], ["get_weather", { location: "San Francisco", units: "fahrenheit" }], ["get_weather", { location: "New York" }], ["list_files", { path: "." }], ["get_user_profile", {}]]) {
      // The SDK checks structuredContent against outputSchema, and throws when it does not fit.
      const result = await client.callTool({ name: tool, arguments: { ...args, access_token } });
      assert.notEqual(result.isError, true, `${tool}: ${JSON.stringify(result)}`);
      assert.ok(result.structuredContent, tool);
    }
  }));
  test(`${name}: refused, then opened by a token issued later, then closed by a revocation`, () => connected(make, async (client, log) => {
    const shut = await client.callTool({ name: "echo", arguments: { message: "m" } });
    assert.equal(shut.isError, true);
    const got = await login(s, browser, app);
    const open = await client.callTool({ name: "echo", arguments: { message: "later", access_token: got.access_token } });
    assert.deepEqual(open.structuredContent, { echo: "later", authorized: true, length: 5 });
    const inMeta = await client.callTool({ name: "echo", arguments: { message: "m" }, _meta: { "authz/access_token": got.access_token } });
    assert.notEqual(inMeta.isError, true, JSON.stringify(inMeta));
    await revoke(got);
    const closed = await client.callTool({ name: "echo", arguments: { message: "m", access_token: got.access_token } });
    assert.equal(closed.isError, true);
    assert.match(JSON.stringify(closed), /invalid_token/);
    assert.ok(!log().includes(got.access_token), "C15");
  }));
  test(`${name}: an unknown tool is a protocol error`, () => connected(make, async (client) => {
    await assert.rejects(client.callTool({ name: "nope", arguments: {} }), (error) => error.code === -32602);
  }));
}

/** Takes a login back: by the revocation endpoint, or by replaying its code where there is none yet. */
async function revoke(got) {
  if (s.meta.revocation_endpoint) {
    const answer = await post(s.meta.revocation_endpoint, { token: got.refresh_token, client_id: app.client_id });
    return assert.equal(answer.status, 200);
  }
  const { held } = got;
  await post(s.at("/oauth/token"), { grant_type: "authorization_code", code: held.code, redirect_uri: held.redirect_uri, client_id: app.client_id, code_verifier: held.verifier });
}

const metadata = (more) => ({ client_name: "SDK", redirect_uris: [CALLBACK], grant_types: ["authorization_code", "refresh_token"], response_types: ["code"], scope: SCOPES, ...more });

/** The steps of an SDK's OAuth client, one by one, with `visit` for the person. */
async function steps(sdk, where, visit, method) {
  const discover = sdk.discoverAuthorizationServerMetadata ?? sdk.discoverOAuthMetadata;
  const found = await discover(where.url);
  assert.equal(found.issuer, where.issuer);
  const client = await sdk.registerClient(where.url, { metadata: found, clientMetadata: metadata({ token_endpoint_auth_method: method }) });
  remember("client secret", client.client_secret);
  const { authorizationUrl, codeVerifier } = await sdk.startAuthorization(where.url, { metadata: found, clientInformation: client, redirectUrl: CALLBACK, scope: SCOPES, state: "sdk", resource: new URL(RESOURCE) });
  remember("verifier", codeVerifier);
  const back = redirected(await visit(authorizationUrl));
  assert.equal(back.get("state"), "sdk");
  assert.equal(back.get("iss"), found.issuer);
  const got = await sdk.exchangeAuthorization(where.url, { metadata: found, clientInformation: client, authorizationCode: back.get("code"), iss: back.get("iss"), codeVerifier, redirectUri: CALLBACK, resource: new URL(RESOURCE) });
  const next = await sdk.refreshAuthorization(where.url, { metadata: found, clientInformation: client, refreshToken: got.refresh_token, resource: new URL(RESOURCE) });
  for (const one of [got, next]) {
    assert.equal(one.token_type, "Bearer");
    remember("access token", one.access_token);
    remember("refresh token", one.refresh_token);
  }
  assert.notEqual(next.access_token, got.access_token);
}

const approves = (url) => ask(url);
async function clicks(url) {
  const visitor = new Browser(s.url);
  const page = await visitor.open(url);
  const consent = await logIn(visitor, page, "ada");
  return visitor.submit(consent, { press: ALLOW, follow: false });
}
for (const [sdk, name] of [[v2, "2.x"], [auth1, "1.x"]]) {
  for (const method of ["none", "client_secret_basic", "client_secret_post", undefined]) {
    test(`${name}: OAuth step by step with --auto-approve (${method})`, () => steps(sdk, dev, approves, method));
  }
  test(`${name}: OAuth step by step with login and consent`, () => steps(sdk, s, clicks, "none"));
  test(`${name}: auth() from nothing to refreshed tokens`, async () => {
    const kept = {};
    const provider = {
      redirectUrl: CALLBACK,
      clientMetadata: metadata({ token_endpoint_auth_method: "none" }),
      state: () => "whole",
      clientInformation: () => kept.client,
      saveClientInformation: (client) => void (kept.client = client),
      tokens: () => kept.tokens,
      saveTokens: (tokens) => void (kept.tokens = tokens),
      redirectToAuthorization: (url) => void (kept.url = url),
      saveCodeVerifier: (verifier) => void (kept.verifier = remember("verifier", verifier)),
      codeVerifier: () => kept.verifier,
      saveDiscoveryState: (state) => void (kept.discovery = state),
      discoveryState: () => kept.discovery,
      validateResourceURL: () => new URL(RESOURCE),
    };
    assert.equal(await sdk.auth(provider, { serverUrl: s.url, scope: SCOPES }), "REDIRECT");
    const back = redirected(await clicks(kept.url));
    assert.equal(await sdk.auth(provider, { serverUrl: s.url, authorizationCode: back.get("code"), iss: back.get("iss"), scope: SCOPES }), "AUTHORIZED");
    const first = kept.tokens;
    assert.equal(await sdk.auth(provider, { serverUrl: s.url, scope: SCOPES }), "AUTHORIZED");
    assert.notEqual(kept.tokens.access_token, first.access_token, "refreshed");
    for (const one of [first, kept.tokens]) {
      remember("access token", one.access_token);
      remember("refresh token", one.refresh_token);
    }
    await connected(hosts["2.x auto"], async (client) => {
      const result = await client.callTool({ name: "echo", arguments: { message: "m", access_token: kept.tokens.access_token } });
      assert.notEqual(result.isError, true, JSON.stringify(result));
    });
  });
}
test("C15 nothing was written down", async () => {
  await s.assertWell();
  await dev.assertWell();
});
