// The tools over Streamable HTTP: /mcp beside the authorization service, and mcp-stdio-server http on its own. Other
// people's clients sign in from the 401 alone, and the MCP conformance suite looks at it in `server` mode.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import * as v2 from "@modelcontextprotocol/client";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as Http1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ALLOW, CALLBACK, RESOURCE, login, person, redirected, register } from "./lib/flow.mjs";
import { ask, get, post } from "./lib/http.mjs";
import { mcpClient } from "./lib/mcp-client.mjs";
import { modernNode, modules } from "./lib/node.mjs";
import { cleanEnv, freePort, start, stop, tempFolder } from "./lib/programs.mjs";
import { remember } from "./lib/secrets.mjs";
import { addUser, service } from "./lib/service.mjs";
import { until } from "./lib/wait.mjs";
import { published } from "./lib/wrapped.mjs";

const MODERN = "2026-07-28";
const s = await service({ args: ["--mcp"], users: ["ada"] });
addUser(s.data, "bob");
after(() => s.end());
const MCP = s.at("/mcp");
const ada = await person(s);
const bob = await person(s, "bob");
const app = await register(s);
const tokens = { all: await token(ada, "mcp:tools"), read: await token(ada, "mcp:tools:read"), bob: await token(bob, "mcp:tools") };

async function token(browser, scope, resource = MCP) {
  return (await login(s, browser, app, { resource, scope })).access_token;
}

/** One message by POST. */
function say(message, { bearer, url = MCP, headers = {}, ...more } = {}) {
  const fixed = { "content-type": "application/json", accept: "application/json, text/event-stream", ...(bearer && { authorization: `Bearer ${bearer}` }) };
  const body = typeof message === "string" || Buffer.isBuffer(message) ? message : JSON.stringify(message);
  return ask(url, { method: "POST", body, check: false, ...more, headers: { ...fixed, ...headers } });
}
const call = (name, args = {}, id = 7) => ({ jsonrpc: "2.0", id, method: "tools/call", params: { name, arguments: args } });
const hello = { jsonrpc: "2.0", id: 1, method: "initialize", params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "e2e", version: "1" } } };
/** A session of the earlier era: the headers that its requests carry. */
async function session(bearer, url = MCP) {
  const answer = await say(hello, { bearer, url });
  assert.equal(answer.status, 200, answer.text);
  const headers = { "mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25" };
  assert.match(headers["mcp-session-id"], /^[\x21-\x7e]{20,}$/);
  assert.equal((await say({ jsonrpc: "2.0", method: "notifications/initialized" }, { bearer, url, headers })).status, 202);
  return headers;
}
/** A request of the modern era. */
function alone(message, { bearer, headers = {}, url } = {}) {
  const _meta = { "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {} };
  const named = message.params?.name ?? message.params?.uri;
  const fixed = { "mcp-protocol-version": MODERN, "mcp-method": message.method, ...(named && { "mcp-name": named }) };
  return say({ ...message, params: { ...message.params, _meta } }, { bearer, url, headers: { ...fixed, ...headers } });
}
const challenge = (answer) => answer.headers["www-authenticate"] ?? "";
const structured = (answer) => answer.json?.result?.structuredContent;

test("MET-04 without a token: 401, a Bearer challenge with metadata and scope, and no error member", async () => {
  const none = [await say(hello), await say(call("echo")), await say("{"), await say(""), await get(MCP), await ask(MCP, { method: "DELETE" })];
  for (const answer of [...none, await alone(call("whoami")), await alone({ jsonrpc: "2.0", id: 1, method: "server/discover" })]) {
    assert.equal(answer.status, 401, answer.text);
    assert.match(challenge(answer), new RegExp(`^Bearer .*resource_metadata="${s.at("/.well-known/oauth-protected-resource/mcp")}"`));
    assert.match(challenge(answer), /scope="mcp:tools:[^"]+"/);
    assert.doesNotMatch(challenge(answer), /error/);
  }
  assert.match(challenge(await alone(call("whoami"))), /scope="mcp:tools:read"/, "of one tool its own scopes");
  for (const path of ["/mcp", ""]) {
    const document = await get(s.at(`/.well-known/oauth-protected-resource${path}`));
    assert.deepEqual([document.json.resource, document.json.authorization_servers], [MCP, [s.issuer]]);
  }
});
test("MET-04 a token that is no good: 401 invalid_token, whatever is wrong with it", async () => {
  const elsewhere = await token(ada, "mcp:tools", RESOURCE);
  for (const bad of ["x", `${tokens.all}x`, tokens.all.slice(0, -2), tokens.all.toUpperCase(), elsewhere, "a".repeat(9000)]) {
    const answer = await say(hello, { bearer: bad });
    assert.equal(answer.status, 401, answer.text);
    assert.match(challenge(answer), /error="invalid_token"/);
  }
  for (const authorization of ["Bearer", "Bearer ", "Bearer a b"]) assert.equal((await say(hello, { headers: { authorization } })).status, 401);
  const inQuery = await say(hello, { url: `${MCP}?access_token=${tokens.all}` });
  assert.equal(inQuery.status, 401, "never from the query");
  const inBody = await say({ ...hello, params: { ...hello.params, _meta: { "authz/access_token": tokens.all } } });
  assert.equal(inBody.status, 401, "never from the body");
});
test("MET-05 a token with too little: 403 insufficient_scope with all that is needed; what it opens is open", async () => {
  const headers = await session(tokens.read);
  const shut = await say(call("echo", { message: "m" }), { bearer: tokens.read, headers });
  assert.equal(shut.status, 403, shut.text);
  assert.match(challenge(shut), /error="insufficient_scope"/);
  assert.match(challenge(shut), /scope="mcp:tools:execute"/);
  assert.match(challenge(shut), /resource_metadata="/);
  assert.equal((await alone(call("echo", { message: "m" }), { bearer: tokens.read })).status, 403);
  const open = await say(call("whoami"), { bearer: tokens.read, headers });
  assert.equal(structured(open)?.user ?? structured(open)?.subject ?? open.text.includes("ada") ? 200 : 0, open.status);
});
test("the same call by session and alone, under one id at once, each with its own answer", async () => {
  const headers = await session(tokens.all);
  const echo = (message) => call("echo", { message }, 1);
  const both = Array.from({ length: 20 }, (_, i) => (i % 2 ? alone(echo(`${i}`), { bearer: tokens.all }) : say({ ...echo(`${i}`), id: i }, { bearer: tokens.all, headers })));
  for (const [i, answer] of (await Promise.all(both)).entries()) {
    assert.equal(answer.status, 200, answer.text);
    assert.match(answer.type, /^application\/json/);
    assert.equal(structured(answer).echo, `${i}`);
    assert.equal(answer.json.id, i % 2 ? 1 : i);
  }
});
test("a session is its person's program's alone, ends when told, and an unknown one is 404", async () => {
  const headers = await session(tokens.all);
  const list = { jsonrpc: "2.0", id: 2, method: "tools/list" };
  assert.equal((await say(list, { bearer: tokens.all, headers })).status, 200);
  assert.equal((await say(list, { bearer: tokens.bob, headers })).status, 404, "bob has no such session");
  assert.equal((await ask(MCP, { method: "DELETE", headers: { ...headers, authorization: `Bearer ${tokens.bob}` } })).status, 404);
  assert.equal((await say(list, { bearer: tokens.all })).status, 400, "no session is named");
  assert.equal((await say(list, { bearer: tokens.all, headers: { ...headers, "mcp-protocol-version": "1999-01-01" } })).status, 400);
  assert.equal((await ask(MCP, { method: "DELETE", headers: { ...headers, authorization: `Bearer ${tokens.all}` } })).status, 204);
  assert.equal((await say(list, { bearer: tokens.all, headers })).status, 404);
});
test("HTP-01 HTP-04 strange requests are told so: types, sizes, methods, origins, hosts", async () => {
  const bearer = tokens.all;
  const status = async (message, more) => (await say(message, { bearer, ...more })).status;
  assert.equal(await status("{"), 400);
  assert.equal(await status("[]"), 400);
  assert.equal(await status('{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}'), 400);
  assert.equal(await status('{"jsonrpc":"2.0","id":null,"method":"ping"}'), 400);
  assert.equal(await status(hello, { headers: { "content-type": "text/plain" } }), 415);
  assert.equal(await status(hello, { headers: { accept: "application/json" } }), 406);
  assert.equal(await status(hello, { headers: { accept: "*/*" } }), 200);
  assert.equal(await status(hello, { headers: { origin: "https://evil.example" } }), 403);
  assert.equal(await status(hello, { headers: { origin: "null" } }), 403);
  assert.equal(await status(hello, { headers: { origin: s.url } }), 200);
  assert.equal(await status(hello, { headers: { host: "evil.example" } }), 421);
  assert.equal(await status(Buffer.alloc(8 * 1024 * 1024 + 1, 0x20)), 413);
  const put = await ask(MCP, { method: "PUT" });
  assert.equal(put.status, 405);
  assert.match(put.headers.allow, /POST/);
  const pretty = JSON.stringify(hello, null, 2);
  assert.equal(await status(pretty), 200, "line breaks in a message are no ends of lines");
});
test("N3 a revocation closes the endpoint at once, and ends the streams that it opened", async () => {
  const mine = await login(s, ada, app, { resource: MCP, scope: "mcp:tools" });
  const headers = { ...(await session(mine.access_token)), authorization: `Bearer ${mine.access_token}`, accept: "text/event-stream" };
  const stream = await new Promise((resolve, reject) => httpRequest(MCP, { headers }, resolve).on("error", reject).end());
  assert.equal(stream.statusCode, 200);
  assert.match(stream.headers["content-type"], /^text\/event-stream/);
  const ended = new Promise((resolve) => stream.resume().on("end", resolve).on("error", resolve));
  await post(s.at("/oauth/revoke"), { token: mine.access_token, client_id: app.client_id });
  assert.equal((await alone(call("whoami"), { bearer: mine.access_token })).status, 401);
  await ended;
});

/** An OAuth provider of the TypeScript SDKs, with a person who says yes. */
function provider() {
  const kept = {};
  return {
    kept,
    redirectUrl: CALLBACK,
    clientMetadata: { client_name: "ts-sdk", redirect_uris: [CALLBACK], grant_types: ["authorization_code", "refresh_token"], response_types: ["code"], token_endpoint_auth_method: "none" },
    clientInformation: () => kept.client,
    saveClientInformation: (client) => (kept.client = client),
    tokens: () => kept.tokens,
    saveTokens: (found) => (kept.tokens = (remember("token", found.access_token), remember("token", found.refresh_token), found)),
    saveCodeVerifier: (verifier) => (kept.verifier = verifier),
    codeVerifier: () => kept.verifier,
    async redirectToAuthorization(url) {
      const page = await ada.open(String(url));
      const answer = await ada.submit(page, { press: ALLOW, follow: false });
      kept.answer = redirected(answer);
    },
  };
}
const sdks = {
  "2.x legacy": () => [new v2.Client({ name: "e2e", version: "1" }), v2.StreamableHTTPClientTransport],
  "2.x 2026-07-28": () => [new v2.Client({ name: "e2e", version: "1" }, { versionNegotiation: { mode: { pin: MODERN } } }), v2.StreamableHTTPClientTransport],
  "2.x auto": () => [new v2.Client({ name: "e2e", version: "1" }, { versionNegotiation: { mode: "auto" } }), v2.StreamableHTTPClientTransport],
  "1.x": () => [new Client1({ name: "e2e", version: "1" }), Http1],
};
for (const [name, make] of Object.entries(sdks)) {
  test(`the TypeScript SDK ${name} signs in from the 401 by its own OAuth client, lists and calls`, async () => {
    const authProvider = provider();
    const [first, Transport] = make();
    const transport = new Transport(new URL(MCP), { authProvider });
    await assert.rejects(first.connect(transport), /[Uu]nauthorized/);
    const answer = authProvider.kept.answer;
    // 2.x checks who answered (RFC 9207).
    await transport.finishAuth(name === "1.x" ? answer.get("code") : new URLSearchParams(answer));
    const [client] = make();
    await client.connect(new Transport(new URL(MCP), { authProvider }));
    const { tools } = await client.listTools();
    assert.ok(tools.some((tool) => tool.name === "echo"));
    const result = await client.callTool({ name: "echo", arguments: { message: "over HTTP" } });
    assert.equal(result.structuredContent.echo, "over HTTP");
    await client.close();
  });
}

test("mcp-client signs in from the 401 alone, lists and calls", async () => {
  const client = mcpClient();
  assert.match(await client.login(s, MCP), /echo/, "the tools are announced for the consent page");
  const tools = await client.run("tools", MCP);
  assert.match(tools.stdout, /echo/, tools.stderr);
  const called = await client.run("call", "echo", MCP, "--args", '{"message":"hi"}');
  assert.equal(called.code, 0, called.stderr);
  assert.match(called.stdout, /hi/);
});
test("the Inspector lists and calls with a token in a header", async () => {
  const inspector = join(modules, "@modelcontextprotocol/inspector/clients/launcher/build/index.js");
  const args = [inspector, "--cli", "--format", "json", MCP, "--transport", "http", "--header", `Authorization: Bearer ${tokens.all}`, "--method", "tools/call", "--tool-name", "echo", "--tool-args-json", '{"message":"inspected"}'];
  const run = await new Promise((resolve) => execFile(modernNode(), args, { env: cleanEnv({ HOME: tempFolder("home"), MCP_INSPECTOR_SECRETS: "memory" }), timeout: 60_000 }, (error, stdout, stderr) => resolve({ code: error ? (error.code ?? -1) : 0, stdout, stderr })).stdin.end());
  assert.equal(run.code, 0, run.stderr + run.stdout);
  assert.match(run.stdout, /inspected/);
});

/** MET-03, MET-09, MET-10, HTP-04: the metadata to pages of every origin, and what leads nowhere. */
async function wellBehaved(port) {
  const at = (path, method, headers) => ask(`http://localhost:${port}${path}`, { method, headers: Object.fromEntries(Object.entries({ origin: "https://inspector.example", ...headers }).filter(([, value]) => value !== undefined)) });
  for (const path of ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"]) {
    const preflight = await at(path, "OPTIONS", { "access-control-request-method": "GET", "access-control-request-headers": "mcp-protocol-version" });
    assert.equal(preflight.status, 204);
    assert.match(preflight.headers["access-control-allow-headers"], /mcp-protocol-version/i);
    for (const [method, status] of [["GET", 200], ["HEAD", 200], ["OPTIONS", 204], ["POST", 405], ["DELETE", 405]]) {
      const answer = await at(path, method);
      assert.deepEqual([answer.status, answer.headers["access-control-allow-origin"]], [status, "*"], `${method} ${path}`);
      if (status === 405) assert.match(answer.headers.allow, /GET/);
    }
    assert.equal((await at(path, "GET", { host: "evil.example" })).status, 421);
  }
  for (const path of ["/", "/nope", "/mcp/", "/MCP", "/mcp/x", "/.well-known/oauth-protected-resource/other", "/%00"]) {
    for (const method of ["GET", "POST", "OPTIONS"]) {
      const answer = await at(path, method);
      assert.deepEqual([answer.status, answer.json?.error], [404, "not_found"], `${method} ${path}`);
      assert.equal((await at(path, method, { host: "evil.example" })).status, 421, `${method} ${path}`);
    }
  }
  assert.match((await at("/mcp", "PATCH")).headers.allow, /POST/);
  // HTP-03: more idle connections than the usual limit of descriptors.
  const idle = await Promise.all(Array.from({ length: 1_500 }, () => new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("G", () => resolve(socket))).on("error", reject);
    socket.resume();
  })));
  const from = Date.now();
  assert.equal((await at("/mcp", "GET", { origin: undefined })).status, 401);
  assert.ok(Date.now() - from < 1_000, `${Date.now() - from} ms`);
  for (const socket of idle) socket.destroy();
}

test("mcp-stdio-server http on its own: the service's tokens, its tools and its metadata", async () => {
  const port = await freePort();
  const url = `http://localhost:${port}/mcp`;
  const front = await service({ args: ["--resource", url] });
  const run = start("mcp-stdio-server", ["http", "--listen", `127.0.0.1:${port}`, "--data", front.data], { ulimit: "-Sn 1024" });
  await until("the tools", () => get(url, { check: false }).then((answer) => answer.status === 401, () => false));
  const document = (await get(`http://localhost:${port}/.well-known/oauth-protected-resource/mcp`)).json;
  assert.deepEqual([document.resource, document.authorization_servers], [url, [front.issuer]]);
  const browser = await person(front);
  const client = await register(front);
  const { access_token } = await login(front, browser, client, { resource: url, scope: "mcp:tools" });
  const answer = await alone(call("echo", { message: "alone" }), { bearer: access_token, url });
  assert.equal(structured(answer)?.echo, "alone", answer.text);
  assert.equal((await say(hello, { url, bearer: access_token, headers: { host: "evil.example" } })).status, 421);
  await wellBehaved(port);
  assert.equal(await stop(run), 0);
  await front.end();
});
test("any stdio server behind it, for a host of each era: lists, prompts, resources, progress, questions to the host", async () => {
  const port = await freePort();
  const url = `http://localhost:${port}/mcp`;
  const front = await service({ args: ["--resource", url] });
  const run = start("mcp-stdio-server", ["http", "--listen", `127.0.0.1:${port}`, "--data", front.data, "--", ...published("server-everything")]);
  await until("the tools", () => get(url, { check: false }).then((answer) => answer.status === 401, () => false), 30_000);
  const browser = await person(front);
  const app = await register(front);
  const { access_token } = await login(front, browser, app, { resource: url, scope: "mcp:tools mcp:resources" });
  const weak = await login(front, browser, app, { resource: url, scope: "mcp:resources" });
  const refused = await alone(call("echo", { message: "m" }), { bearer: weak.access_token, url });
  assert.equal(refused.status, 403, refused.text);
  for (const [era, options] of [["legacy", {}], ["modern", { versionNegotiation: { mode: { pin: MODERN } } }]]) {
    const host = new v2.Client({ name: "e2e", version: "1" }, { capabilities: { sampling: {} }, ...options });
    host.setRequestHandler("sampling/createMessage", () => ({ model: "none", role: "assistant", content: { type: "text", text: "sampled words" } }));
    await host.connect(new v2.StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { authorization: `Bearer ${access_token}` } } }));
    const echoed = await host.callTool({ name: "echo", arguments: { message: `over HTTP, ${era}` } });
    assert.match(echoed.content[0].text, new RegExp(`over HTTP, ${era}`));
    assert.ok((await host.listPrompts()).prompts.length > 0, era);
    const { resources } = await host.listResources();
    assert.ok((await host.readResource({ uri: resources[0].uri })).contents.length > 0, era);
    const steps = [];
    await host.callTool({ name: "trigger-long-running-operation", arguments: { duration: 0.3, steps: 3 } }, { onprogress: (step) => steps.push(step.progress) });
    assert.ok(steps.length >= 2, `${era}: progress came on the stream: ${steps}`);
    const sampled = await host.callTool({ name: "trigger-sampling-request", arguments: { prompt: "say", maxTokens: 9 } });
    assert.match(JSON.stringify(sampled), /sampled words/, era);
    await host.close();
  }
  assert.equal(await stop(run), 0);
  await front.end();
});
test("C14 an answer that takes long comes, also to a token for one call, and to one that ends meanwhile; a revocation ends it", async () => {
  const port = await freePort();
  const url = `http://localhost:${port}/mcp`;
  const front = await service({ args: ["--resource", url, "--access-lifetime", "4s"] });
  const run = start("mcp-stdio-server", ["http", "--listen", `127.0.0.1:${port}`, "--data", front.data, "--", ...published("server-everything")]);
  await until("the tools", () => get(url, { check: false }).then((answer) => answer.status === 401, () => false), 30_000);
  const browser = await person(front);
  const exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
  const app = await register(front, { grant_types: ["authorization_code", "refresh_token", exchange] });
  const fresh = () => login(front, browser, app, { resource: url, scope: "mcp:tools" });
  const slow = (bearer, duration) => alone(call("trigger-long-running-operation", { duration, steps: 2 }), { bearer, url });
  const once = async (duration) => {
    const hash = createHash("sha256").update(`{"duration":${duration},"steps":2}`).digest("base64url");
    const details = [{ type: "mcp_tool_call", tool: "trigger-long-running-operation", arguments_sha256: hash }];
    const more = { subject_token: (await fresh()).access_token, subject_token_type: "urn:ietf:params:oauth:token-type:access_token", authorization_details: JSON.stringify(details) };
    return remember("token", (await post(front.at("/oauth/token"), { grant_type: exchange, client_id: app.client_id, ...more })).json.access_token);
  };
  const [short, taken] = [await fresh(), await fresh()];
  const calls = [slow(await once(4), 4), slow(short.access_token, 6), slow(taken.access_token, 60)];
  // The longer one's token has ended by then, and the commits in between made every stream ask whether it may go on.
  await fresh();
  const second = await calls[1];
  await post(front.at("/oauth/revoke"), { token: taken.refresh_token, client_id: app.client_id });
  const [first, , third] = await Promise.all(calls);
  for (const answer of [first, second]) assert.match(answer.text, /event: message\ndata: .*completed/, answer.text);
  assert.equal(third.status, 200);
  assert.doesNotMatch(third.text, /event: message/, "what was taken back hears nothing more");
  assert.equal(await stop(run), 0);
  await front.end();
});
test("C15 nothing was written down", () => s.assertWell());
