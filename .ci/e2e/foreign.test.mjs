// A stdio server at a URL behind somebody else's authorization server: npm's oidc-provider, and the TypeScript SDKs, which
// learn from the 401 alone where to sign in.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import * as v2 from "@modelcontextprotocol/client";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as Http1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import Provider from "oidc-provider";
import { CALLBACK, login, person, redirected, register } from "./lib/flow.mjs";
import { ask, form, get, post } from "./lib/http.mjs";
import { Browser } from "./lib/page.mjs";
import { freePort, runToEnd, start, stop, tempFolder } from "./lib/programs.mjs";
import { assertClean, assertFolderClean, remember } from "./lib/secrets.mjs";
import { service } from "./lib/service.mjs";
import { until } from "./lib/wait.mjs";
import { published } from "./lib/wrapped.mjs";

const SECRET = remember("introspection secret", "of the test: with % and + and : in it");
const SCOPES = "mcp:tools:read mcp:tools:execute mcp:resources";
const CHECKER = "the mcp server";
const issuer = `http://localhost:${await freePort()}`;
const [jwt, opaque] = [await server(), await server()];
const listening = await provider();
after(async () => {
  listening.closeAllConnections();
  listening.close();
});

const files = tempFolder("files");
writeFileSync(join(files, "a.txt"), "alpha\n");

/** Where a server will be, and what it may write. */
async function server() {
  const port = await freePort();
  return { port, url: `http://localhost:${port}/mcp`, data: tempFolder("trail") };
}

/** Gives out signed tokens for one resource, and opaque ones for the other. */
function provider() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = { ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: "rsa" };
  const made = new Provider(issuer, {
    clients: [{ client_id: CHECKER, client_secret: SECRET, redirect_uris: [], grant_types: [], response_types: [] }],
    jwks: { keys: [jwk] },
    cookies: { keys: ["of the test"] },
    scopes: ["openid", "offline_access", ...SCOPES.split(" ")],
    findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    features: {
      introspection: { enabled: true },
      registration: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => false,
        getResourceServerInfo: (_, resource) => ({ scope: SCOPES, audience: resource, accessTokenFormat: resource === jwt.url ? "jwt" : "opaque" }),
      },
    },
  });
  return new Promise((resolve) => {
    const server = made.listen(new URL(issuer).port, "127.0.0.1", () => resolve(server));
  });
}

/** Serves files behind the provider. */
async function serve({ port, url, data }, ...flags) {
  return serveBehind(issuer, SECRET, { port, url, data }, ...flags);
}
async function serveBehind(authority, secret, { port, url, data }, ...flags) {
  const env = { MCP_AUTHZ_INTROSPECTION_SECRET: secret };
  const run = start("mcp-stdio-server", ["http", "--listen", `127.0.0.1:${port}`, "--data", data, "--issuer", authority, ...flags, "--", ...published("server-filesystem", files)], { env });
  await until("the server", () => get(url, { check: false }).then((answer) => answer.status === 401, () => false), 30_000);
  return run;
}

/** The pages of the provider are its own business. */
class Visitor extends Browser {
  ask(url, options) {
    return super.ask(url, { ...options, check: false });
  }
}

/** An OAuth client of the SDKs', with a person who is called `who` and says yes. */
function oauth(who) {
  const kept = {};
  return {
    kept,
    redirectUrl: CALLBACK,
    clientMetadata: { client_name: "ts-sdk", redirect_uris: [CALLBACK], grant_types: ["authorization_code"], response_types: ["code"], token_endpoint_auth_method: "none", application_type: "native" },
    clientInformation: () => kept.client,
    saveClientInformation: (client) => (kept.client = client),
    tokens: () => kept.tokens,
    saveTokens: (found) => (kept.tokens = (remember("token", found.access_token), found)),
    saveCodeVerifier: (verifier) => (kept.verifier = verifier),
    codeVerifier: () => kept.verifier,
    async redirectToAuthorization(url) {
      kept.asked = new URL(url).searchParams;
      const visitor = new Visitor(issuer);
      let page = await visitor.open(String(url));
      page = await visitor.submit(page, { fill: { login: who, password: "whatever" } });
      page = await visitor.submit(page, { press: /continue/i });
      kept.answer = redirected(page);
    },
  };
}

const sdks = {
  "2.x 2026-07-28": () => [new v2.Client({ name: "e2e", version: "1" }, { versionNegotiation: { mode: { pin: "2026-07-28" } } }), v2.StreamableHTTPClientTransport],
  "2.x legacy": () => [new v2.Client({ name: "e2e", version: "1" }), v2.StreamableHTTPClientTransport],
  "1.x": () => [new Client1({ name: "e2e", version: "1" }), Http1],
};

/** Signs in from the 401, and hands over a connected client. */
async function signedIn(name, url, authProvider) {
  const [first, Transport] = sdks[name]();
  const transport = new Transport(new URL(url), { authProvider });
  await assert.rejects(first.connect(transport), /[Uu]nauthorized/);
  const { answer } = authProvider.kept;
  await transport.finishAuth(name === "1.x" ? answer.get("code") : new URLSearchParams(answer));
  const [client] = sdks[name]();
  await client.connect(new Transport(new URL(url), { authProvider }));
  return client;
}

const read = (client) => client.callTool({ name: "read_text_file", arguments: { path: join(files, "a.txt") } });

/** Everything that was written down, as text. */
function trail({ data }) {
  return readdirSync(join(data, "calls")).filter((name) => name.endsWith(".jsonl")).map((name) => readFileSync(join(data, "calls", name), "utf8")).join("");
}

for (const name of Object.keys(sdks)) {
  test(`${name} signs in at oidc-provider from the 401 alone, and calls a wrapped server by a signed token`, async () => {
    const run = await serve(jwt, "--verify", "jwks");
    const document = await get(`http://localhost:${jwt.port}/.well-known/oauth-protected-resource/mcp`);
    assert.deepEqual([document.json.resource, document.json.authorization_servers], [jwt.url, [issuer]]);
    const authProvider = oauth("ada");
    const client = await signedIn(name, jwt.url, authProvider);
    assert.equal(authProvider.kept.asked.get("resource"), jwt.url, "RFC 8707");
    const token = authProvider.kept.tokens.access_token;
    assert.equal(JSON.parse(Buffer.from(token.split(".")[0], "base64url")).typ, "at+jwt");
    assert.ok((await client.listTools()).tools.some((tool) => tool.name === "read_text_file"));
    assert.equal((await read(client)).content[0].text, "alpha\n");
    await client.close();
    // A token of the same issuer for another server opens nothing here.
    const other = oauth("ada");
    const elsewhere = await serve(opaque, "--verify", "jwks");
    await assert.rejects(signedIn(name, opaque.url, other), "an opaque token has no signature");
    const bearer = { authorization: `Bearer ${token}`, accept: "application/json, text/event-stream", "content-type": "application/json" };
    const refused = await ask(opaque.url, { method: "POST", headers: bearer, body: '{"jsonrpc":"2.0","id":1,"method":"ping"}' });
    assert.equal(refused.status, 401, refused.text);
    assert.equal(await stop(elsewhere), 0);
    assert.equal(await stop(run), 0);
    assertClean("the log", run.stderr + run.stdout + elsewhere.stderr);
    assertFolderClean(jwt.data);
    const lines = trail(jwt);
    assert.match(lines, new RegExp(`"issuer":"${issuer}","subject":"ada"`));
  });

  test(`${name} calls it by an opaque token that oidc-provider is asked about; revoked, it is refused`, async () => {
    const run = await serve(opaque, "--verify", "introspection", "--introspection-client", CHECKER, "--introspection-cache", "0");
    const authProvider = oauth("bob");
    const client = await signedIn(name, opaque.url, authProvider);
    assert.equal((await read(client)).content[0].text, "alpha\n");
    const token = authProvider.kept.tokens.access_token;
    assert.equal(token.split(".").length, 1, "it is opaque");
    const revoked = await ask(`${issuer}/token/revocation`, { method: "POST", check: false, headers: { "content-type": "application/x-www-form-urlencoded" }, body: form({ token, client_id: authProvider.kept.client.client_id }) });
    assert.equal(revoked.status, 200, revoked.text);
    authProvider.redirectToAuthorization = () => assert.ok(true, "it asks the person anew");
    await assert.rejects(read(client), /[Uu]nauthorized|invalid_token/);
    await client.close();
    assert.equal(await stop(run), 0);
    assertClean("the log", run.stderr + run.stdout);
    assertFolderClean(opaque.data);
    assert.match(trail(opaque), /"decision":"admitted".*"subject":"bob"/);
  });
}

test("our own service is such an issuer too, for a server that does not share its store: by keys, and by introspection", async () => {
  const [signed, asked] = [await server(), await server()];
  const s = await service({ args: ["--resource", signed.url, "--resource", asked.url] });
  const added = JSON.parse(runToEnd("authz-service", ["client", "add", "files", "--json", "--resource-server", asked.url, "--data", s.data]).stdout);
  const secret = remember("client secret", added.client_secret);
  const runs = [await serveBehind(s.issuer, secret, signed, "--verify", "jwks"), await serveBehind(s.issuer, secret, asked, "--verify", "introspection", "--introspection-client", added.client_id, "--introspection-cache", "0")];
  const [ada, app] = [await person(s), await register(s)];
  const called = async ({ url }, token) => {
    const client = new v2.Client({ name: "e2e", version: "1" });
    await client.connect(new v2.StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { authorization: `Bearer ${token}` } } }));
    const { content } = await read(client);
    await client.close();
    return content[0].text;
  };
  const tokens = {};
  for (const one of [signed, asked]) {
    tokens[one.url] = (await login(s, ada, app, { resource: one.url, scope: "mcp:tools:read" })).access_token;
    assert.equal(await called(one, tokens[one.url]), "alpha\n");
  }
  await assert.rejects(called(asked, tokens[signed.url]), "a token is for one server");
  const token = tokens[asked.url];
  assert.equal((await post(s.meta.revocation_endpoint, { token, client_id: app.client_id })).status, 200);
  await assert.rejects(called(asked, token), "and dies with its revocation");
  for (const run of runs) {
    assert.equal(await stop(run), 0);
    assertClean("the log", run.stderr + run.stdout);
  }
  await s.assertWell();
  await s.end();
});
