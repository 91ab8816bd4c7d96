// Other people's stdio servers behind the guard: what comes through is what they say, and nothing comes through unasked.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, test } from "node:test";
import * as v2 from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { Client as Client1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as Stdio1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { ALLOW, login, person, register } from "./lib/flow.mjs";
import { inspector } from "./lib/inspector.mjs";
import { cleanEnv, program, tempFolder } from "./lib/programs.mjs";
import { service } from "./lib/service.mjs";
import { until } from "./lib/wait.mjs";
import { fastmcp, host, published, wrap } from "./lib/wrapped.mjs";

const s = await service();
after(() => s.end());
const browser = await person(s);
const client = await register(s);
const token = async (scope) => (await login(s, browser, client, { scope })).access_token;
const full = await token("mcp:tools:read mcp:tools:execute mcp:resources");
const fixture = [process.execPath, join(dirname(fileURLToPath(import.meta.url)), "lib/fixture-server.mjs")];

const folder = tempFolder("wrapped");
mkdirSync(join(folder, "sub"));
writeFileSync(join(folder, "a.txt"), "alpha\n");

/** Each server, and what is asked of it: with the same answers twice, for they are compared. */
const servers = {
  everything: [published("server-everything"), [["tools/list", {}], ["prompts/list", {}], ["resources/list", {}], ["resources/templates/list", {}], ["tools/call", { name: "echo", arguments: { message: "hé\u0000llo \u202e" } }], ["tools/call", { name: "get-sum", arguments: { a: 1, b: 2 } }], ["tools/call", { name: "no-such-tool", arguments: {} }], ["prompts/get", { name: "simple-prompt" }], ["completion/complete", { ref: { type: "ref/prompt", name: "completable-prompt" }, argument: { name: "department", value: "E" } }], ["logging/setLevel", { level: "error" }], ["ping"], ["no/such/method", {}]]],
  filesystem: [published("server-filesystem", folder), [["tools/list", {}], ["tools/call", { name: "read_text_file", arguments: { path: join(folder, "a.txt") } }], ["tools/call", { name: "list_directory", arguments: { path: folder } }], ["tools/call", { name: "read_text_file", arguments: { path: "/etc/passwd" } }]]],
  memory: [published("server-memory"), [["tools/list", {}], ["tools/call", { name: "read_graph", arguments: {} }], ["tools/call", { name: "search_nodes", arguments: { query: "x" } }]]],
  fastmcp: [fastmcp(), [["tools/list", {}], ["tools/call", { name: "add", arguments: { a: 1, b: 2 } }], ["tools/call", { name: "boom", arguments: {} }], ["resources/list", {}], ["resources/templates/list", {}], ["resources/read", { uri: "data://one" }], ["resources/read", { uri: "data://two/text" }], ["prompts/list", {}], ["prompts/get", { name: "ask", arguments: { topic: "MCP" } }]]],
  fixture: [fixture, [["tools/list", {}], ["tools/call", { name: "look", arguments: { n: 1 }, _meta: { progressToken: "p" } }], ["resources/read", { uri: "x://1" }], ["prompts/get", { name: "p" }]]],
};
const env = () => ({ MEMORY_FILE_PATH: join(tempFolder("memory"), "m.json") });

for (const [name, [command, requests]] of Object.entries(servers)) {
  test(`${name}: with a full grant every answer is the bare server's, byte for byte`, async () => {
    const transcript = async (line, more) => {
      const one = host(line, { env: { ...env(), ...more } });
      const answers = [JSON.stringify(await one.initialize())];
      for (const [method, params] of requests) answers.push(await one.raw(one.send(method, params)));
      assert.equal(await one.end(), 0);
      return answers;
    };
    assert.deepEqual(await transcript(wrap(s.data, command), { MCP_ACCESS_TOKEN: full }), await transcript(command));
  });

  test(`${name}: a 2026-07-28 host gets the same contents`, async () => {
    const bare = host(command, { env: env() });
    await bare.initialize();
    const one = host(wrap(s.data, command), { env: { ...env(), MCP_ACCESS_TOKEN: full } });
    const found = await one.modern("server/discover");
    assert.ok(found.result.supportedVersions.includes("2026-07-28"), JSON.stringify(found));
    for (const [method, params] of requests.filter(([method]) => !/^(ping|logging|no\/)/.test(method))) {
      const [ours, theirs] = [await one.modern(method, params), await bare.ask(method, params)];
      if (theirs.error) {
        assert.equal(ours.error?.message, theirs.error.message, method);
        continue;
      }
      const { resultType, ttlMs, cacheScope, _meta, ...rest } = ours.result;
      assert.equal(resultType, "complete", JSON.stringify(ours));
      assert.equal(ttlMs !== undefined && cacheScope === "private", /list$|resources\/read/.test(method), method);
      assert.ok(_meta["io.modelcontextprotocol/serverInfo"]?.name, method);
      const { _meta: bareMeta, ...expected } = theirs.result;
      assert.deepEqual(rest, expected, method);
    }
    assert.equal(await one.end(), 0);
    await bare.end();
  });
}

test("without a token everything is listed, and nothing is done", async () => {
  const one = host(wrap(s.data, published("server-filesystem", folder)));
  await one.initialize();
  const { tools } = (await one.ask("tools/list", {})).result;
  assert.ok(tools.some((tool) => tool.name === "write_file"));
  const refused = await one.ask("tools/call", { name: "write_file", arguments: { path: join(folder, "b.txt"), content: "x" } });
  assert.equal(refused.result.isError, true);
  assert.equal(refused.result.structuredContent.error, "unauthorized");
  assert.equal(refused.result.structuredContent.scope, "mcp:tools:execute");
  assert.equal(await one.end(), 0);
});

test("a read-only grant sees and uses what only reads; --show-locked shows the rest, marked", async () => {
  const read = await token("mcp:tools:read");
  for (const flags of [[], ["--show-locked"]]) {
    const one = host(wrap(s.data, published("server-filesystem", folder), ...flags), { env: { MCP_ACCESS_TOKEN: read } });
    await one.initialize();
    const { tools } = (await one.ask("tools/list", {})).result;
    const open = tools.filter((tool) => !tool._meta?.["authz/locked"]).map((tool) => tool.name);
    assert.ok(open.includes("read_text_file") && !open.includes("write_file"), `${open}`);
    assert.equal(tools.some((tool) => tool._meta?.["authz/locked"]?.scope === "mcp:tools:execute" && /^\[Locked/.test(tool.description)), flags.length > 0);
    const done = await one.ask("tools/call", { name: "read_text_file", arguments: { path: join(folder, "a.txt") } });
    assert.equal(done.result.content[0].text, "alpha\n");
    const refused = await one.ask("tools/call", { name: "write_file", arguments: { path: join(folder, "b.txt"), content: "x" } });
    assert.equal(refused.result.structuredContent.error, "insufficient_scope");
    assert.equal(await one.end(), 0);
  }
});

test("the token never reaches the server, wherever it came with the call", async () => {
  const one = host(wrap(s.data, fixture, "--token-argument", "on"));
  await one.initialize();
  for (const params of [{ arguments: { n: 1, access_token: full } }, { arguments: { n: 1 }, _meta: { "authz/access_token": full, keep: 1 } }]) {
    const done = await one.ask("tools/call", { name: "seen", ...params });
    assert.ok(done.result, JSON.stringify(done));
    const seen = JSON.parse(done.result.content[0].text);
    assert.equal(seen.params.arguments.n, 1);
    assert.ok(!JSON.stringify(seen).includes(full), "no token");
    if (params._meta) assert.equal(seen.params._meta.keep, 1);
    assert.ok(!Object.keys(seen.env).some((name) => /^MCP_/.test(name)), `${Object.keys(seen.env)}`);
  }
  assert.equal(await one.end(), 0);
});

test("what nobody judges is not passed on: calls that want no answer, and members that a lax server takes for others", async () => {
  const one = host(wrap(s.data, fixture));
  await one.initialize();
  const bad = { name: "seen", arguments: { smuggled: 1 } };
  one.line({ jsonrpc: "2.0", method: "tools/call", params: bad });
  const lax = [{ method: "ping", Method: "tools/call", params: bad }, { method: "ping", Params: bad, params: {} }, { method: "tools/call", params: { name: "look", arguments: {}, Name: "seen" } }, { method: "ping", "param\u017f": bad }];
  for (const [at, message] of lax.entries()) {
    one.line({ jsonrpc: "2.0", id: 100 + at, ...message });
    assert.equal((await one.answer(100 + at)).error?.code, -32600, JSON.stringify(message));
  }
  one.line({ jsonrpc: "2.0", id: 200, result: {}, Method: "tools/call", Params: bad });
  one.line({ jsonrpc: "2.0", method: "notifications/roots/list_changed", params: { _meta: { "authz/access_token": full } } });
  const seen = await one.ask("tools/call", { name: "seen", arguments: {}, _meta: { "authz/access_token": full } });
  const { heard } = JSON.parse(seen.result.content[0].text);
  assert.ok(heard.some((line) => line.includes("roots/list_changed")), `${heard}`);
  for (const word of ["smuggled", full]) assert.ok(!JSON.stringify(heard).includes(word), `${heard}`);
  assert.equal(await one.end(), 0);
});

test("news of a resource are for whoever may read it", async () => {
  for (const server of [fixture, [...fixture, "modern"]]) {
    const one = host(wrap(s.data, server), { env: { MCP_ACCESS_TOKEN: await token("mcp:tools:read") } });
    await one.modern("server/discover");
    one.send("subscriptions/listen", { notifications: { toolsListChanged: true, resourceSubscriptions: ["x://1"] }, _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} } });
    const { params } = await until("its beginning", () => one.messages().find((message) => message.method === "notifications/subscriptions/acknowledged"));
    assert.equal(params.notifications.toolsListChanged, true);
    assert.deepEqual(params.notifications.resourceSubscriptions ?? [], []);
    assert.equal(await one.end(), 0);
  }
});

test("an argument of that name is the tool's own when it was not said to be ours", async () => {
  const one = host(wrap(s.data, fixture), { env: { MCP_ACCESS_TOKEN: full } });
  await one.initialize();
  const done = await one.ask("tools/call", { name: "seen", arguments: { access_token: "mine" } });
  assert.equal(JSON.parse(done.result.content[0].text).params.arguments.access_token, "mine");
  assert.equal(await one.end(), 0);
});

test("a revoked grant closes the next call", async () => {
  const got = await login(s, browser, client, { scope: "mcp:tools:read mcp:tools:execute" });
  const one = host(wrap(s.data, fixture), { env: { MCP_ACCESS_TOKEN: got.access_token } });
  await one.initialize();
  assert.notEqual((await one.ask("tools/call", { name: "look", arguments: {} })).result.isError, true);
  const { post } = await import("./lib/http.mjs");
  await post(s.at("/oauth/revoke"), { client_id: client.client_id, token: got.access_token });
  const closed = await one.ask("tools/call", { name: "look", arguments: {} });
  assert.equal(closed.result.structuredContent.error, "invalid_token");
  assert.equal(await one.end(), 0);
});

test("resources and prompts need their scope, too", async () => {
  const one = host(wrap(s.data, fixture), { env: { MCP_ACCESS_TOKEN: await token("mcp:tools:read") } });
  await one.initialize();
  for (const [method, params] of [["resources/read", { uri: "x://1" }], ["resources/subscribe", { uri: "x://1" }], ["prompts/get", { name: "p" }]]) {
    const refused = await one.ask(method, params);
    assert.equal(refused.error.code, 403, JSON.stringify(refused));
    assert.equal(refused.error.data.error, "insufficient_scope");
    assert.equal(refused.error.data.scope, "mcp:resources");
  }
  assert.deepEqual((await one.ask("resources/list", {})).result.resources, []);
  assert.equal(await one.end(), 0);
});

test("questions of the server, progress and news reach an old host as they are", async () => {
  const one = host(wrap(s.data, fixture), { env: { MCP_ACCESS_TOKEN: full }, answers: { "sampling/createMessage": () => ({ role: "assistant", content: { type: "text", text: "four" }, model: "m" }) } });
  await one.initialize({ sampling: {} });
  const done = await one.ask("tools/call", { name: "ask", arguments: {}, _meta: { progressToken: 7 } });
  assert.match(done.result.content[0].text, /four/);
  const heard = one.messages().filter((message) => message.method).map((message) => message.method);
  for (const method of ["notifications/progress", "sampling/createMessage", "notifications/tools/list_changed"]) assert.ok(heard.includes(method), `${method} in ${heard}`);
  assert.equal(await one.end(), 0);
});

test("STD-15: a modern host is asked in the result, answers when it comes back, and nobody else can", async () => {
  const one = host(wrap(s.data, fixture));
  const capable = { "io.modelcontextprotocol/clientCapabilities": { sampling: {} }, "authz/access_token": full };
  const question = await one.modern("tools/call", { name: "ask", arguments: {}, _meta: capable });
  assert.equal(question.result.resultType, "input_required", JSON.stringify(question));
  const [[key, request]] = Object.entries(question.result.inputRequests);
  assert.equal(request.method, "sampling/createMessage");
  const back = { name: "ask", arguments: {}, requestState: question.result.requestState, inputResponses: { [key]: { role: "assistant", content: { type: "text", text: "five" }, model: "m" } } };
  const other = await token("mcp:tools:read mcp:tools:execute");
  for (const wrong of [{ ...back, _meta: { ...capable, "authz/access_token": other } }, { ...back, arguments: { x: 1 }, _meta: capable }, { ...back, requestState: "ask_0", _meta: capable }]) {
    assert.equal((await one.modern("tools/call", wrong)).error?.code, -32602, "ARG-14");
  }
  const done = await one.modern("tools/call", { ...back, _meta: capable });
  assert.match(done.result.content[0].text, /five/);
  assert.equal((await one.modern("tools/call", { ...back, _meta: capable })).error?.code, -32602, "good once");
  const lacking = await one.modern("tools/call", { name: "ask", arguments: {}, _meta: { "authz/access_token": full } });
  assert.match(JSON.stringify(lacking.result), /cannot be asked/);
  assert.ok(one.messages().every((message) => message.id === undefined || message.method === undefined), "no request on stdout");
  assert.equal(await one.end(), 0);
});

test("a modern host listens to an old server's news", async () => {
  const one = host(wrap(s.data, fixture), { env: { MCP_ACCESS_TOKEN: full } });
  await one.modern("server/discover");
  const id = one.send("subscriptions/listen", { notifications: { toolsListChanged: true, resourceSubscriptions: ["x://1"] }, _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} } });
  const heard = (method) => until(method, () => one.messages().find((message) => message.method === method), 10_000);
  const acknowledged = await heard("notifications/subscriptions/acknowledged");
  assert.deepEqual(acknowledged.params, { _meta: { "io.modelcontextprotocol/subscriptionId": id }, notifications: { toolsListChanged: true, resourceSubscriptions: ["x://1"] } });
  await one.modern("tools/call", { name: "change", arguments: {} });
  for (const method of ["notifications/tools/list_changed", "notifications/resources/updated"]) {
    assert.equal((await heard(method)).params._meta["io.modelcontextprotocol/subscriptionId"], id);
  }
  assert.equal(await one.end(), 0);
  assert.ok(one.messages().some((message) => message.id === id && message.result?.resultType === "complete"), "the stream is closed in an orderly way");
});

test("an old host uses a server of 2026-07-28, and its questions", async () => {
  const one = host(wrap(s.data, [...fixture, "modern"]), { env: { MCP_ACCESS_TOKEN: full }, answers: { "elicitation/create": () => ({ action: "accept", content: { name: "ada" } }) } });
  const greeted = await one.initialize({ elicitation: {} });
  assert.equal(greeted.result.protocolVersion, "2025-06-18");
  assert.equal(greeted.result.serverInfo.name, "fixture");
  const { result } = await one.ask("tools/list", {});
  assert.deepEqual(Object.keys(result).sort(), ["tools"]);
  const done = await one.ask("tools/call", { name: "who", arguments: {} });
  assert.equal(done.result.content[0].text, "ada");
  assert.equal(done.result.resultType, undefined);
  await one.ask("tools/call", { name: "change", arguments: {} });
  const news = await until("news", () => one.messages().find((message) => message.method === "notifications/tools/list_changed"), 10_000);
  assert.equal(news.params, undefined);
  assert.deepEqual((await one.ask("ping")).result, {});
  assert.equal(await one.end(), 0);
});

for (const [name, options] of [["legacy", {}], ["2026-07-28", { versionNegotiation: { mode: { pin: "2026-07-28" } } }], ["auto", { versionNegotiation: { mode: "auto" } }]]) {
  test(`the official SDK, ${name}, uses a wrapped server`, async () => {
    const [command, ...args] = wrap(s.data, published("server-everything"));
    const transport = new StdioClientTransport({ command, args, env: cleanEnv({ MCP_ACCESS_TOKEN: full }), stderr: "ignore" });
    const one = new v2.Client({ name: "e2e", version: "1" }, options);
    await one.connect(transport);
    try {
      const { tools } = await one.listTools();
      assert.ok(tools.some((tool) => tool.name === "echo"));
      const done = await one.callTool({ name: "echo", arguments: { message: "through" } });
      assert.match(JSON.stringify(done.content), /through/);
      const { resources } = await one.listResources();
      assert.ok(resources.length > 0);
      assert.ok((await one.readResource({ uri: resources[0].uri })).contents.length > 0);
    } finally {
      await one.close();
    }
  });
}

for (const era of ["legacy", "modern", "auto"]) {
  test(`the Inspector, ${era}, lists what the bare server lists, and calls through`, async () => {
    const run = (command, ...flags) => inspector("--protocol-era", era, "-e", `MCP_ACCESS_TOKEN=${full}`, ...flags, "--", ...command);
    const command = [...fixture, ...(era === "modern" ? ["modern"] : [])];
    const [ours, theirs] = [await run(wrap(s.data, command), "--method", "tools/list"), await run(command, "--method", "tools/list")];
    assert.equal(ours.code, 0, ours.stderr + ours.stdout);
    assert.deepEqual(ours.json, theirs.json);
    const done = await run(wrap(s.data, fixture), "--method", "tools/call", "--tool-name", "look");
    assert.match(done.stdout, /looked/, done.stderr);
  });
}

/** What a host does with two of the most used servers, which keep something: each in a folder of its own. */
const used = {
  filesystem: (place) => [
    { name: "write_file", arguments: { path: join(place, "b.txt"), content: "hé\nllo\n" } },
    { name: "edit_file", arguments: { path: join(place, "b.txt"), edits: [{ oldText: "llo", newText: "y" }] } },
    { name: "read_text_file", arguments: { path: join(place, "b.txt") } },
    { name: "list_directory", arguments: { path: place } },
    { name: "read_text_file", arguments: { path: "/etc/passwd" } },
    { name: "read_text_file", arguments: { path: 7 } },
  ],
  memory: () => [
    { name: "create_entities", arguments: { entities: [{ name: "Ada", entityType: "person", observations: ["counts"] }] } },
    { name: "add_observations", arguments: { observations: [{ entityName: "Ada", contents: ["writes"] }] } },
    { name: "search_nodes", arguments: { query: "writes" } },
    { name: "read_graph", arguments: {} },
    { name: "add_observations", arguments: { observations: [{ entityName: "Nobody", contents: ["x"] }] } },
  ],
};

/** Uses a server through an official SDK; what the host's author sees of it. */
async function through(one, command, name, place, more = {}) {
  const [program, ...args] = command(name === "filesystem" ? published("server-filesystem", place) : published("server-memory"));
  const Transport = one instanceof Client1 ? Stdio1 : StdioClientTransport;
  await one.connect(new Transport({ command: program, args, env: cleanEnv({ MEMORY_FILE_PATH: join(place, "m.json"), ...more }), stderr: "ignore" }));
  try {
    const { tools } = await one.listTools();
    const results = [];
    for (const call of used[name](place)) {
      const { content, structuredContent, isError } = await one.callTool(call);
      results.push({ content, structuredContent, isError: isError ?? false });
    }
    // What version 2025-11-25 had of tasks is none of the later one's business, for the SDK either.
    for (const tool of tools) delete tool.execution;
    // Where it was done is not what was done.
    return JSON.parse(JSON.stringify({ server: one.getServerVersion().name, tools, results }).replaceAll(place, "PLACE"));
  } finally {
    await one.close();
  }
}

const sdks = {
  "SDK 1": () => new Client1({ name: "e2e", version: "1" }),
  "SDK 2, initialize": () => new v2.Client({ name: "e2e", version: "1" }),
  "SDK 2, 2026-07-28": () => new v2.Client({ name: "e2e", version: "1" }, { versionNegotiation: { mode: { pin: "2026-07-28" } } }),
  "SDK 2, auto": () => new v2.Client({ name: "e2e", version: "1" }, { versionNegotiation: { mode: "auto" } }),
};
for (const name of Object.keys(used)) {
  for (const [sdk, client] of Object.entries(sdks)) {
    test(`${name}: the official ${sdk} gets from the wrapped server what it gets from the bare one`, async () => {
      // The bare server speaks one era only: what it says there is what must come through in each.
      const bare = await through(sdk === "SDK 1" ? client() : sdks["SDK 2, initialize"](), (line) => line, name, tempFolder("bare"));
      const ours = await through(client(), (line) => wrap(s.data, line), name, tempFolder("ours"), { MCP_ACCESS_TOKEN: full });
      assert.ok(bare.tools.length > 5 && bare.results.some((result) => result.isError) && bare.results.some((result) => !result.isError), JSON.stringify(bare.results));
      assert.deepEqual(ours, bare);
    });
  }
}

/** The processes whose command line holds a word. */
const processes = (word) => {
  try {
    return execFileSync("pgrep", ["-f", word]).toString().trim().split("\n").filter(Boolean);
  } catch {
    return [];
  }
};

for (const [how, end] of [["closes the pipe", (one) => one.child.stdin.end()], ["is killed and takes us with SIGKILL", (one) => one.child.kill("SIGKILL")], ["ends us with SIGTERM", (one) => one.child.kill("SIGTERM")]]) {
  for (const when of ["before the greeting", "at rest", "in a call"]) {
    test(`nothing is left when the host ${how} ${when}`, async () => {
      const mark = `mark-${process.pid}-${Math.random().toString(36).slice(2)}`;
      // A server that ignores the end of its input, has a child of its own, and is stubborn.
      const one = host(wrap(s.data, ["bash", "-c", `trap '' TERM; sleep 300 & exec -a ${mark} ${[...fixture, "stubborn", mark].join(" ")}`]), { env: { MCP_ACCESS_TOKEN: full } });
      if (when !== "before the greeting") await one.initialize();
      if (when === "in a call") one.send("tools/call", { name: "sleep", arguments: {} });
      if (when !== "before the greeting") await until("the server", () => processes(mark).length > 0, 10_000);
      end(one);
      await until("our end", () => one.code !== undefined, 5_000);
      await until("nothing left", () => processes(mark).length === 0, 5_000);
    });
  }
}

test("a server that ends is started again, its calls are answered, and the host is told", async () => {
  const one = host(wrap(s.data, fixture), { env: { MCP_ACCESS_TOKEN: full } });
  await one.initialize();
  await one.ask("tools/call", { name: "look", arguments: {} });
  const [waiting, dying] = [one.send("tools/call", { name: "sleep", arguments: {} }), one.send("tools/call", { name: "die", arguments: {} })];
  for (const id of [waiting, dying]) assert.match((await one.answer(id)).error.message, /ended before it answered/);
  const again = await one.ask("tools/call", { name: "look", arguments: {} }, 20_000);
  assert.ok(again.result, JSON.stringify(again));
  await until("news", () => one.messages().some((message) => message.method === "notifications/tools/list_changed"), 10_000);
  assert.equal(await one.end(), 0);
});

test("a server that was started again is asked for the news that its predecessor was asked for", async () => {
  for (const ask of ["ask", "modern"]) {
    const one = host(wrap(s.data, fixture), { env: { MCP_ACCESS_TOKEN: full } });
    if (ask === "ask") {
      await one.initialize();
      assert.deepEqual((await one.ask("resources/subscribe", { uri: "x://1" })).result, {});
    } else {
      one.send("subscriptions/listen", { notifications: { resourceSubscriptions: ["x://1"] }, _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} } });
    }
    assert.ok((await one[ask]("tools/call", { name: "die", arguments: {} })).error);
    const seen = await until("the server again", async () => (await one[ask]("tools/call", { name: "seen", arguments: {} })).result, 10_000);
    assert.match(seen.content[0].text, /resources\/subscribe/);
    const updated = () => one.messages().find((message) => message.method === "notifications/resources/updated");
    await one[ask]("tools/call", { name: "change", arguments: {} });
    await until("news", updated);
    assert.equal(await one.end(), 0);
  }
});

test("a server that cannot be started is said to be, and we end with an error", async () => {
  const one = host(wrap(s.data, ["/no/such/program"]));
  one.send("initialize", { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "e2e", version: "1" } });
  await until("its end", () => one.code !== undefined, 10_000);
  assert.equal(one.code, 1);
  assert.match(one.stderr, /no\/such\/program/);
  assert.ok(one.messages().some((message) => message.id === 1 && message.error), "the host has its answer");
});

test("STD-07: long lines of either side, junk and floods stay bounded, and the stream goes on", async () => {
  const one = host(wrap(s.data, fixture), { env: { MCP_ACCESS_TOKEN: full } });
  await one.initialize();
  one.child.stdin.write("x".repeat(9 << 20) + "\n");
  one.line("junk");
  assert.ok((await one.ask("tools/call", { name: "look", arguments: {} })).result);
  assert.ok(one.messages().some((message) => message.error?.code === -32600));
  assert.ok(one.messages().some((message) => message.error?.code === -32700));
  const flooded = await one.ask("tools/call", { name: "flood", arguments: {} }, 30_000);
  assert.match(JSON.stringify(flooded), /ended before it answered|flooded/);
  const memory = execFileSync("ps", ["-o", "rss=", "-p", `${one.child.pid}`]).toString().trim();
  assert.ok(Number(memory) < 120 * 1024, `${memory} KiB`);
  assert.ok((await one.ask("tools/call", { name: "look", arguments: {} }, 20_000)).result);
  assert.equal(await one.end(), 0);
});

test("rules: what is denied is nowhere, what is open needs nothing, and a tool that becomes another is not offered", async () => {
  const rules = join(folder, "rules.toml");
  const run = (...args) => execFileSync(program("mcp-stdio-server"), args, { env: cleanEnv(), encoding: "utf8" });
  const text = run("rules", "init", "--", ...fixture);
  writeFileSync(rules, text);
  assert.match(run("rules", "check", rules, "--", ...fixture), /good/);
  writeFileSync(rules, `version = 1\n[[tool]]\nname = "die"\naccess = "deny"\n[[tool]]\nname = "look"\naccess = "open"\n${text.slice(text.indexOf("[known]"))}`);
  const one = host(wrap(s.data, [...fixture, "changed"], "--rules", rules));
  await one.initialize();
  const names = (await one.ask("tools/list", {})).result.tools.map((tool) => tool.name);
  assert.ok(names.includes("look") && !names.includes("die") && !names.includes("seen"), `${names}`);
  assert.ok((await one.ask("tools/call", { name: "look", arguments: {} })).result.content);
  for (const name of ["die", "seen"]) assert.equal((await one.ask("tools/call", { name, arguments: {} })).error.code, -32602);
  assert.match(one.stderr, /seen/);
  assert.equal(await one.end(), 0);
  assert.throws(() => run("rules", "check", rules, "--", ...fixture, "changed"), /Command failed/);
});

test("the tools of a wrapped server stand on the consent page", async () => {
  const one = host(wrap(s.data, fixture, "--name", "wrapped-fixture"));
  await one.initialize();
  const { authorize, request, pkce } = await import("./lib/flow.mjs");
  await until("the announcement", async () => {
    const page = await authorize(s, browser, request(client, pkce(), { resource: "urn:mcp:stdio:wrapped-fixture", scope: "mcp:tools:read mcp:tools:execute" }));
    return /look/.test(page.text) && /destr/i.test(page.text);
  }, 10_000);
  assert.equal(await one.end(), 0);
});

// Last: taking an app's access back takes it from every token above, too.

/** The person opens the page that they are shown, and says yes. */
async function approve(url) {
  let page = await browser.open(url);
  for (const press of [/continue/i, ALLOW]) page = await browser.submit(page, { press });
  assert.equal(page.status, 200, page.text.slice(0, 500));
}

for (const era of ["initialize", "2026-07-28"]) {
  test(`${era}: the host's person signs in while the call of a wrapped tool waits, and takes it back`, async () => {
    let shown;
    const answers = { "elicitation/create": (params) => ((shown = params), { action: "accept" }) };
    const command = wrap(s.data, fixture, "--name", `ladder-${era}`, "--login", "elicit");
    const one = host(command, { answers });
    const told = () => one.messages().filter((message) => message.method === "notifications/tools/list_changed").length;
    const call = { name: "look", arguments: { n: 1 }, _meta: { progressToken: 3 } };
    let done;
    if (era === "initialize") {
      await one.initialize({ elicitation: { url: {} } });
      const id = one.send("tools/call", call);
      await until("the dialog", () => shown);
      await approve(shown.url);
      done = await one.answer(id);
      await until("the end of the dialog", () => one.messages().some((message) => message.method === "notifications/elicitation/complete"));
    } else {
      const capable = { ...call._meta, "io.modelcontextprotocol/clientCapabilities": { elicitation: { url: {} } } };
      const question = await one.modern("tools/call", { ...call, _meta: capable });
      assert.equal(question.result.resultType, "input_required", JSON.stringify(question));
      const [[key, { params }]] = Object.entries(question.result.inputRequests);
      await approve(params.url);
      const back = { ...call, _meta: capable, requestState: question.result.requestState, inputResponses: { [key]: { action: "accept" } } };
      assert.equal((await one.modern("tools/call", { ...back, arguments: { n: 2 } })).error?.code, -32602, "ARG-14");
      done = await one.modern("tools/call", back);
    }
    assert.equal(done.result.content?.[0].text, "looked", JSON.stringify(done));
    const list = async () => (await (era === "initialize" ? one.ask("tools/list", {}) : one.modern("tools/list"))).result.tools;
    assert.ok((await list()).length > 0);
    if (era !== "initialize") one.send("subscriptions/listen", { notifications: { toolsListChanged: true }, _meta: { "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} } });
    await until("it listens", () => era === "initialize" || one.messages().some((message) => message.method === "notifications/subscriptions/acknowledged"));
    const before = told();
    let page = await browser.open(s.at("/account"));
    while (/Revoke/.test(page.text)) page = await browser.submit(page, { press: /^revoke/i });
    await until("the news", () => told() > before, 2_000);
    assert.deepEqual((await list()), []);
    const shut = await (era === "initialize" ? one.ask("tools/call", call) : one.modern("tools/call", call));
    assert.equal(shut.result.structuredContent.error, "invalid_token");
    assert.equal(await one.end(), 0);
  });
}

test("a host that leaves while a wrapped call waits for a person gets the link, and is not waited for", async () => {
  const one = host(wrap(s.data, fixture, "--name", "leaving", "--login", "link"));
  await one.initialize();
  const call = { name: "look", arguments: { n: 1 }, _meta: { progressToken: 1 } };
  const code = (answer) => answer.result.structuredContent.user_code;
  const first = code(await one.ask("tools/call", call));
  assert.match(first, /^[A-Z]{4}-[A-Z]{4}$/);
  const id = one.send("tools/call", call);
  await until("the call waits", () => one.messages().some((message) => message.method === "notifications/progress" && message.params.message.includes(first)));
  assert.equal(await one.end(), 0);
  const answer = one.messages().find((message) => message.id === id && message.method === undefined);
  assert.equal(code(answer), first);
});
