// STD: JSON-RPC over stdio, as broken or hostile hosts write it. No service is needed, and no token.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { cleanEnv, program, runToEnd, tempFolder } from "../lib/programs.mjs";
import { MODERN, done, meta, rpcRefused, stdioServer } from "../lib/stdio.mjs";
import { until } from "../lib/wait.mjs";

const empty = () => join(tempFolder("nostore"), "data");

/** A fresh server in one of the two eras, closed afterwards and checked. */
async function served(era, body, options) {
  const host = stdioServer(empty(), options);
  try {
    if (era === "legacy") await host.initialize();
    await body(host);
    await host.assertWell();
    host.lines();
  } finally {
    await host.end();
  }
}

/** The messages that came since `mark`, once a request sent after them was answered. */
async function after(host, write) {
  const mark = host.lines().length;
  await write();
  const probe = await (host.legacy ? host.ask("ping") : host.modern("tools/list"));
  assert.ok(probe.result, JSON.stringify(probe));
  return host.lines().slice(mark).filter((message) => message !== probe && message.id !== probe.id);
}

for (const era of ["legacy", "modern"]) {
  for (const [what, junk] of Object.entries({
    "plain text": "hello", "an HTTP request": "GET / HTTP/1.1", "a brace": "{", "cut off": '{"jsonrpc":"2.0","id":1,"method":"tools/li', "an empty line": "", "spaces": "   ", "NUL": "\u0000\u0000", "a byte order mark alone": "\ufeff", "control characters": "\u001b[2J", "a trailing comma": '{"jsonrpc":"2.0","id":9,"method":"ping",}', "single quotes": "{'jsonrpc':'2.0'}", "carriage return": "\r",
  })) {
    test(`STD-01 ${era}: a line of ${what}`, () => served(era, async (host) => {
      for (const message of await after(host, () => host.line(junk))) {
        assert.ok([-32700, -32600].includes(message.error?.code), JSON.stringify(message));
        assert.ok(message.id === undefined || message.id === null, "without an id");
      }
    }));
  }
  test(`STD-01 F-25 ${era}: a line that is not UTF-8`, () => served(era, async (host) => {
    const messages = await after(host, () => host.write(Buffer.concat([Buffer.from('{"jsonrpc":"2.0","id":77,"method":"ping","x":"'), Buffer.from([0xff, 0xfe, 0xc3, 0x28]), Buffer.from('"}\n')])));
    for (const message of messages) assert.ok([-32700, -32600].includes(message.error?.code), JSON.stringify(message));
  }));
  for (const [what, value] of Object.entries({ "a number": 1, "a string": "x", "null": null, "true": true, "an empty object": {}, "an object of another kind": { a: 1 }, "no method": { jsonrpc: "2.0", id: 71 }, "a method that is a number": { jsonrpc: "2.0", id: 72, method: 1 } })) {
    test(`STD-02 ${era}: JSON that is ${what}`, () => served(era, async (host) => {
      const messages = await after(host, () => host.line(value));
      for (const message of messages) assert.ok([-32600, -32700, -32601, -32602].includes(message.error?.code), JSON.stringify(message));
    }));
  }
  test(`STD-03 ${era}: unknown methods`, () => served(era, async (host) => {
    for (const method of ["nope", "tools/calls", "Tools/Call", "tools/call ", "", "rpc.discover", "__proto__", "x".repeat(5000)]) {
      const answer = await (host.legacy ? host.ask(method, {}) : host.modern(method));
      rpcRefused(answer, -32601, ...(method === "" ? [-32600] : []));
    }
  }));
  test(`STD-03 ${era}: an unknown notification is ignored`, () => served(era, async (host) => {
    assert.deepEqual(await after(host, () => host.line({ jsonrpc: "2.0", method: "notifications/nope", params: { _meta: meta() } })), []);
  }));
  for (const version of [undefined, "1.0", 2, "2", "2.00", null, ["2.0"], ""]) {
    test(`STD-04 ${era}: jsonrpc ${JSON.stringify(version)}`, () => served(era, async (host) => {
      const messages = await after(host, () => host.line({ jsonrpc: version, id: 81, method: "tools/call", params: { name: "public_info", arguments: {}, _meta: meta() } }));
      for (const message of messages) assert.equal(message.error?.code, -32600, JSON.stringify(message));
    }));
  }
  for (const id of [null, 1.5, true, {}, [], 1e400]) {
    test(`STD-05 ${era}: id ${JSON.stringify(id)}`, () => served(era, async (host) => {
      const text = JSON.stringify({ jsonrpc: "2.0", id, method: "tools/call", params: { name: "public_info", arguments: {}, _meta: meta() } });
      const messages = await after(host, () => host.line(text));
      for (const message of messages) assert.ok(message.error || id === 1.5, `never executed: ${JSON.stringify(message)}`);
    }));
  }
  test(`STD-05 ${era}: ids that are strings, empty, huge, negative come back as they were`, () => served(era, async (host) => {
    for (const id of ["a", "", "ü🦀", "x".repeat(300), -1, 0, 9007199254740991]) {
      host.line({ jsonrpc: "2.0", id, method: "tools/list", params: { _meta: meta() } });
      assert.ok((await host.answer(id)).result, `${id}`);
    }
  }));
  test(`STD-06 ${era}: batches are never executed`, () => served(era, async (host) => {
    const call = { jsonrpc: "2.0", id: 91, method: "tools/call", params: { name: "public_info", arguments: {}, _meta: meta() } };
    for (const batch of [[call], [call, call], [], [1], [[call]]]) {
      for (const message of await after(host, () => host.line(batch))) {
        const all = [message].flat();
        for (const one of all) assert.equal(one.error?.code, -32600, JSON.stringify(message));
      }
    }
  }));
  test(`STD-02 JSON-RPC 5 ${era}: an error about a message that could not be read is answered by nothing`, () => served(era, async (host) => {
    const error = { code: -32700, message: "Parse error" };
    for (const answer of [{ id: null, error }, { error }, { id: 4711, error }, { id: null, result: {} }]) {
      assert.deepEqual(await after(host, () => host.line({ jsonrpc: "2.0", ...answer })), [], JSON.stringify(answer));
    }
  }));
  test(`STD-18 ${era}: a cursor that is none`, () => served(era, async (host) => {
    for (const cursor of [1, {}, [], true, "nope"]) rpcRefused(await host.ask("tools/list", { cursor, ...(host.legacy ? {} : { _meta: meta() }) }), -32602);
  }));
  test(`C10 ${era}: member names are exact and unique`, () => served(era, async (host) => {
    const params = JSON.stringify({ name: "public_info", arguments: {}, _meta: meta() });
    for (const text of [
      `{"jsonrpc":"2.0","id":95,"method":"nope","method":"tools/call","params":${params}}`, `{"jsonrpc":"2.0","id":95,"id":96,"method":"tools/call","params":${params}}`, `{"jsonrpc":"2.0","id":95,"METHOD":"tools/call","Params":${params}}`,
      `{"jsonrpc":"2.0","id":95,"method":"tools/call","params":{"name":"nope","name":"public_info","arguments":{},"_meta":${JSON.stringify(meta())}}}`, `{"jsonrpc":"2.0","id":95,"m\\u0065thod":"nope","method":"tools/call","params":${params}}`,
    ]) {
      const messages = await after(host, () => host.line(text));
      for (const message of messages) assert.ok(message.error, `never executed: ${text.slice(0, 80)} ${JSON.stringify(message)}`);
    }
  }));
  test(`STD-16 ${era}: cancelling what never was`, () => served(era, async (host) => {
    for (const params of [{ requestId: 4711 }, { requestId: "x", reason: "r" }, {}, { requestId: null }, { requestId: {} }]) {
      const messages = await after(host, () => host.line({ jsonrpc: "2.0", method: "notifications/cancelled", params: { ...params, _meta: meta() } }));
      for (const message of messages) assert.ok(message.error && message.id == null, JSON.stringify(message));
    }
  }));
  for (const params of [undefined, null, [], "x", 7, [{ name: "public_info" }]]) {
    test(`STD-18 ${era}: tools/call with params ${JSON.stringify(params)}`, () => served(era, async (host) => {
      const answer = await host.ask("tools/call", params);
      rpcRefused(answer, -32602, ...(params === undefined ? [-32600] : []));
    }));
  }
  for (const [what, params] of Object.entries({ "no name": { arguments: {} }, "a name that is a number": { name: 1, arguments: {} }, "arguments as a list": { name: "public_info", arguments: [] }, "arguments as text": { name: "public_info", arguments: "x" }, "an unknown tool": { name: "nope", arguments: {} }, "a tool in another case": { name: "Public_Info", arguments: {} }, "an empty name": { name: "", arguments: {} }, "a name with NUL": { name: "public_info\u0000", arguments: {} } })) {
    test(`STD-18 ARG-05 ${era}: tools/call with ${what}`, () => served(era, async (host) => {
      rpcRefused(await host.ask("tools/call", { ...params, _meta: host.legacy ? undefined : meta() }), -32602);
    }));
  }
  test(`STD-07 F-25 ${era}: a line of 64 MiB is dropped with bounded memory`, () => served(era, async (host) => {
    const head = '{"jsonrpc":"2.0","id":99,"method":"tools/call","params":{"name":"public_info","arguments":{"x":"';
    const chunk = Buffer.alloc(1024 * 1024, 0x61);
    let most = 0;
    const messages = await after(host, async () => {
      host.write(head);
      for (let i = 0; i < 64; i += 1) {
        if (!host.write(chunk)) await new Promise((resolve) => host.run.child.stdin.once("drain", resolve));
        most = Math.max(most, residentKiB(host.run.pid));
      }
      host.write('"}}}\n');
    });
    assert.equal(messages.length, 1, JSON.stringify(messages).slice(0, 300));
    assert.equal(messages[0].error.code, -32600);
    assert.ok(messages[0].id == null, "without id");
    assert.ok(most < 80 * 1024, `${most} KiB resident`);
  }, { log: "warn" }));
  test(`C10 ${era}: a line just below 8 MiB is read`, () => served(era, async (host) => {
    const answer = await host.call("public_info", {}, { _meta: { ...(host.legacy ? {} : meta()), padding: "a".repeat(7 * 1024 * 1024) } });
    done(answer);
  }, { log: "warn" }));
  test(`F-25 ${era}: deep nesting`, () => served(era, async (host) => {
    for (const depth of [100, 10_000, 400_000]) {
      const messages = await after(host, () => host.line(`{"jsonrpc":"2.0","id":55,"method":"tools/call","params":{"name":"public_info","arguments":{"x":${"[".repeat(depth)}${"]".repeat(depth)}},"_meta":${JSON.stringify(meta())}}}`));
      assert.ok(messages.length <= 1);
    }
  }, { log: "warn" }));
  test(`STD-12 ${era}: the end of input ends the process with 0 within 2 s, calls answered or not`, async () => {
    const host = stdioServer(empty());
    if (era === "legacy") await host.initialize();
    for (let i = 0; i < 50; i += 1) host.line({ jsonrpc: "2.0", id: `c${i}`, method: "tools/call", params: { name: "public_info", arguments: {}, _meta: meta() } });
    host.run.child.stdin.end();
    const from = Date.now();
    assert.equal(await until("the exit", () => (host.run.code !== undefined ? { code: host.run.code } : false), 4_000).then((x) => x.code), 0);
    assert.ok(Date.now() - from < 2_000, `${Date.now() - from} ms`);
    assert.equal(host.run.stdout.at(-1), "\n", "no half line");
    host.lines();
  });
  for (const signal of ["SIGTERM", "SIGINT"]) {
    test(`STD-20 ${era}: ${signal} ends it within 2 s, without a half line`, async () => {
      const host = stdioServer(empty());
      if (era === "legacy") await host.initialize();
      else await host.modern("server/discover");
      const from = Date.now();
      host.run.child.kill(signal);
      await until("the exit", () => host.run.code !== undefined, 4_000);
      assert.ok(Date.now() - from < 2_000);
      assert.ok(host.run.stdout === "" || host.run.stdout.endsWith("\n"));
      host.lines();
    });
  }
}

function residentKiB(pid) {
  return Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/VmRSS:\s+(\d+)/)[1]);
}

test("STD-13 F-23 a host that closes stdout", async () => {
  const child = spawn(program("mcp-stdio-server"), ["--data", empty()], { env: cleanEnv(), stdio: ["pipe", "pipe", "pipe"] });
  let log = "";
  child.stderr.on("data", (part) => (log += part));
  child.stdin.on("error", () => {});
  child.stdout.destroy();
  const gone = new Promise((resolve) => child.on("exit", resolve));
  for (let i = 0; i < 10; i += 1) child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id: i, method: "server/discover", params: { _meta: meta() } })}\n`);
  const timer = setTimeout(() => child.kill("SIGKILL"), 4_000);
  const from = Date.now();
  await gone;
  clearTimeout(timer);
  assert.ok(Date.now() - from < 2_500, "it ended by itself");
  assert.doesNotMatch(log, /panicked/);
});
test("F-24 a host that does not read: memory stays bounded", async () => {
  const child = spawn(program("mcp-stdio-server"), ["--data", empty()], { env: cleanEnv({ RUST_LOG: "warn" }), stdio: ["pipe", "pipe", "ignore"] });
  child.stdin.on("error", () => {});
  child.stdout.pause();
  const line = `${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: { _meta: meta() } })}\n`;
  let [sent, blocked] = [0, 0];
  while (sent < 60_000 && blocked < 20) {
    if (child.stdin.writableLength < 1 << 20) {
      child.stdin.write(line);
      sent += 1;
    } else {
      blocked += 1;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
  const resident = residentKiB(child.pid);
  child.kill("SIGKILL");
  assert.ok(resident < 120 * 1024, `${resident} KiB after ${sent} unread requests`);
});
test("STD-08 an unsupported modern version", () => served("modern", async (host) => {
  for (const version of ["2099-01-01", "1.0", "", "2026-07-29"]) {
    const error = rpcRefused(await host.ask("tools/list", { _meta: meta({ "io.modelcontextprotocol/protocolVersion": version }) }), -32022);
    assert.ok(error.data.supported.includes(MODERN));
    assert.equal(error.data.requested, version);
  }
}));
for (const missing of ["io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientInfo", "io.modelcontextprotocol/clientCapabilities"]) {
  test(`STD-09 a modern request without ${missing}`, () => served("modern", async (host) => {
    const bare = meta();
    delete bare[missing];
    const answer = await host.ask("tools/list", { _meta: bare });
    // clientInfo is a SHOULD of the client; the other two are required.
    if (missing.endsWith("clientInfo")) assert.ok(answer.result, JSON.stringify(answer));
    else rpcRefused(answer, -32602);
  }));
}
test("STD-09 _meta members of a wrong type", () => served("modern", async (host) => {
  await host.modern("server/discover");
  for (const bad of [{ "io.modelcontextprotocol/protocolVersion": 7 }, { "io.modelcontextprotocol/clientCapabilities": "x" }]) rpcRefused(await host.ask("tools/list", { _meta: meta(bad) }), -32602, -32022);
  for (const value of ["x", 7, [], null]) rpcRefused(await host.ask("tools/list", { _meta: value }), -32602, -32600);
}));
test("STD-10 server/discover as the first message", () => served("modern", async (host) => {
  const answer = await host.modern("server/discover");
  assert.ok(answer.result.supportedVersions.includes(MODERN), JSON.stringify(answer.result));
  assert.ok(answer.result.serverInfo?.name ?? answer.result._meta?.["io.modelcontextprotocol/serverInfo"]?.name);
  assert.ok(answer.result.capabilities.tools);
}));
test("STD-10 a modern request as the first message, without discover", () => served("modern", async (host) => {
  assert.ok((await host.modern("tools/list")).result.tools.length >= 4);
}));
for (const [asked, answered] of [["2025-11-25", "2025-11-25"], ["2025-06-18", "2025-06-18"], ["2025-03-26", "2025-03-26"], ["2024-11-05", "2024-11-05"], ["1999-01-01", "2025-11-25"], ["", "2025-11-25"], ["2026-07-28", "2025-11-25"]]) {
  test(`STD-11 initialize with ${JSON.stringify(asked)}`, () => served("modern", async (host) => {
    const answer = await host.initialize(asked);
    assert.equal(answer.result?.protocolVersion, answered, JSON.stringify(answer));
    assert.ok(answer.result.capabilities.tools);
    assert.ok(answer.result.serverInfo.version);
  }));
}
test("STD-11 a malformed initialize is refused, and a good one still works", () => served("modern", async (host) => {
  for (const params of [undefined, {}, [], { protocolVersion: 1 }, { protocolVersion: "2025-11-25" }, { protocolVersion: "2025-11-25", capabilities: 1, clientInfo: {} }]) rpcRefused(await host.ask("initialize", params), -32602, -32600);
  assert.ok((await host.initialize()).result);
}));
test("STD-11 tools before initialize, in the legacy shape", () => served("modern", async (host) => {
  rpcRefused(await host.ask("tools/list", {}), -32600, -32602);
  assert.ok((await host.initialize()).result);
}));
test("STD-11 ping before and after initialize", () => served("modern", async (host) => {
  assert.ok((await host.ask("ping")).result);
  await host.initialize();
  assert.ok((await host.ask("ping")).result);
}));
test("STD-14 nothing on stdout before the first request, and no log there at any level", async () => {
  const host = stdioServer(empty(), { log: "trace" });
  await host.modern("server/discover");
  assert.ok(host.run.stdout.startsWith('{"jsonrpc"') || JSON.parse(host.run.stdout.split("\n")[0]).jsonrpc === "2.0");
  assert.equal(host.lines().length, 1);
  await host.end();
});
test("STD-15 no request is ever written in the modern era", () => served("modern", async (host) => {
  for (const name of ["echo", "whoami", "get_time"]) await host.call(name, { message: "m" });
  for (const message of host.lines()) assert.ok(!(message.method && message.id !== undefined), JSON.stringify(message));
}));
test("STD-19 error codes of the modern era", () => served("modern", async (host) => {
  const answers = [await host.modern("nope"), await host.modern("tools/call", {}), await host.modern("resources/read", { uri: "x:y" }), await host.modern("prompts/get", { name: "x" }), await host.modern("tools/list", { cursor: "bogus" }), await host.modern("completion/complete", {}), await host.modern("logging/setLevel", { level: "x" })];
  for (const { error } of answers) if (error) assert.ok(!(error.code <= -32000 && error.code >= -32019) && ![-32002, -32042].includes(error.code), JSON.stringify(error));
}));
test("both eras on one process", () => served("modern", async (host) => {
  await host.initialize();
  assert.ok((await host.ask("tools/list", {})).result);
  assert.ok((await host.modern("tools/list")).result, "a modern request beside a legacy session");
}));
test("lines may end with CR LF, and come in pieces", () => served("modern", async (host) => {
  const line = JSON.stringify({ jsonrpc: "2.0", id: "crlf", method: "tools/list", params: { _meta: meta() } });
  host.write(`${line.slice(0, 10)}`);
  await new Promise((resolve) => setImmediate(resolve));
  host.write(`${line.slice(10)}\r\n`);
  assert.ok((await host.answer("crlf")).result);
}));
test("the last line without a newline is still answered at the end of input", async () => {
  const done = runToEnd("mcp-stdio-server", ["--data", empty()], { input: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "server/discover", params: { _meta: meta() } }) });
  assert.equal(done.code, 0);
});
for (const args of [["--name", "a b"], ["--name", ""], ["--name", "a/b"], ["--nope"], ["--token-argument", "maybe"]]) {
  test(`CFG a wrong flag ends at once with a message: ${args}`, () => {
    const done = runToEnd("mcp-stdio-server", args, { timeout: 5_000 });
    assert.equal(done.code, 2, done.stderr);
    assert.equal(done.stdout, "");
    assert.match(done.stderr, /error/);
  });
}
