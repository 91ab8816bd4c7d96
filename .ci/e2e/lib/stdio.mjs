// A host that speaks JSON-RPC to the stdio server, line by line, and reads every byte that comes back.

import assert from "node:assert/strict";
import { start, stop } from "./programs.mjs";
import { assertClean } from "./secrets.mjs";
import { until } from "./wait.mjs";

export const MODERN = "2026-07-28";

/** The `_meta` that every request of the stateless era carries. */
export const meta = (more = {}) => ({
  "io.modelcontextprotocol/protocolVersion": MODERN,
  "io.modelcontextprotocol/clientInfo": { name: "e2e", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
  ...more,
});

/** Starts the stdio server on a store. */
export function stdioServer(data, { args = [], env = {}, log = "trace" } = {}) {
  const run = start("mcp-stdio-server", ["--data", data, ...args], { stdin: "pipe", env: { RUST_LOG: log, ...env } });
  run.child.stdin.on("error", () => {});
  let last = 0;
  const self = {
    run,
    /** Every line of standard output so far; each is checked to be JSON-RPC. */
    lines() {
      const whole = run.stdout.slice(0, run.stdout.lastIndexOf("\n") + 1);
      return whole.split("\n").filter(Boolean).map((line) => {
        const message = JSON.parse(line);
        assert.equal(message.jsonrpc, "2.0", `STD-14 only JSON-RPC: ${line.slice(0, 200)}`);
        return message;
      });
    },
    write: (bytes) => run.child.stdin.write(bytes),
    line: (value) => self.write(`${typeof value === "string" ? value : JSON.stringify(value)}\n`),
    answer: (id, ms = 10_000) =>
      until(`an answer to ${id}`, () => {
        assert.equal(run.code, undefined, `the stdio server lives: ${run.stderr.slice(-1500)}`);
        return self.lines().find((message) => message.id === id && message.method === undefined);
      }, ms),
    /** A request of the running era. */
    ask(method, params, ms) {
      const id = ++last;
      self.line({ jsonrpc: "2.0", id, method, ...(params !== undefined && { params }) });
      return self.answer(id, ms);
    },
    modern: (method, params = {}, ms) => self.ask(method, { ...params, _meta: meta(params._meta) }, ms),
    call: (name, args = {}, more = {}) => (self.legacy ? self.ask : self.modern)("tools/call", { name, arguments: args, ...more }),
    async initialize(version = "2025-11-25") {
      const done = await self.ask("initialize", { protocolVersion: version, capabilities: {}, clientInfo: { name: "e2e", version: "1" } });
      self.line({ jsonrpc: "2.0", method: "notifications/initialized" });
      self.legacy = true;
      return done;
    },
    end: () => stop(run),
    /** It lives, answers, and has written no secret anywhere. */
    async assertWell() {
      const open = await self.call("public_info");
      assert.ok(open.result && !open.result.isError, JSON.stringify(open));
      assert.doesNotMatch(run.stderr, /panicked at/);
      assertClean("the stdio server's log", run.stderr);
      assertClean("the stdio server's output", run.stdout);
    },
  };
  return self;
}

/** The call was done. */
export function done(message) {
  assert.equal(message.error, undefined, JSON.stringify(message.error));
  assert.notEqual(message.result.isError, true, JSON.stringify(message.result));
  return message.result;
}

/** The call was refused as a tool result with this `error` word. */
export function toolRefused(message, ...words) {
  assert.equal(message.error, undefined, `a tool result, not ${JSON.stringify(message.error)}`);
  assert.equal(message.result.isError, true, JSON.stringify(message.result));
  const text = JSON.stringify(message.result);
  if (words.length) assert.ok(words.some((word) => text.includes(word)), `${words}, not ${text}`);
  assert.ok(message.result.content?.some((part) => part.type === "text" && part.text.length > 10), "a text for people");
  return message.result;
}

/** The request was refused by JSON-RPC with this code. */
export function rpcRefused(message, ...codes) {
  assert.ok(message.error, `an error, not ${JSON.stringify(message.result)?.slice(0, 300)}`);
  assert.ok(codes.includes(message.error.code), `${codes}, not ${JSON.stringify(message.error)}`);
  return message.error;
}
