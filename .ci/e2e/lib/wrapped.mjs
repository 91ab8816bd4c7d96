// Servers that the wrapper stands in front of, and a host that speaks to any command line by line.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { after } from "node:test";
import { modules } from "./node.mjs";
import { cleanEnv, program } from "./programs.mjs";
import { until } from "./wait.mjs";
import { meta } from "./stdio.mjs";

/** The start of a server from npm, as a command line. */
export const published = (name, ...args) => [process.execPath, join(modules, "@modelcontextprotocol", name, "dist/index.js"), ...args];

const file = (path) => fileURLToPath(new URL(path, import.meta.url));

/** The FastMCP server, as a command line; FastMCP is installed when it is not there. */
export const fastmcp = () => [execFileSync(file("../../fastmcp"), { encoding: "utf8" }).trim(), file("fastmcp-server.py")];

/** The command line of the wrapper around another one. Nobody is asked to sign in unless `flags` say so. */
export const wrap = (data, command, ...flags) => [program("mcp-stdio-server"), "wrap", "--data", data, ...(flags.includes("--login") ? [] : ["--login", "off"]), ...flags, "--", ...command];

const running = new Set();
after(() => running.forEach((child) => child.kill("SIGKILL")));

/** A host of a command. Every line that comes back is kept as it was. */
export function host(command, { env = {}, answers = {} } = {}) {
  const child = spawn(command[0], command.slice(1), { env: cleanEnv(env), stdio: ["pipe", "pipe", "pipe"] });
  running.add(child);
  let text = "";
  let last = 0;
  const self = { child, stderr: "", code: undefined };
  child.stdout.setEncoding("utf8").on("data", (part) => {
    text += part;
    for (const message of self.messages().slice(self.seen)) {
      self.seen++;
      // The server's own questions, as the test would answer them.
      if (message.method && message.id !== undefined) {
        const answer = answers[message.method]?.(message.params);
        self.line(answer ? { jsonrpc: "2.0", id: message.id, result: answer } : { jsonrpc: "2.0", id: message.id, error: { code: -32601, message: "no" } });
      }
    }
  });
  child.stderr.setEncoding("utf8").on("data", (part) => (self.stderr += part));
  child.stdin.on("error", () => {});
  child.on("exit", (code, signal) => (self.code = code ?? signal));
  return Object.assign(self, {
    seen: 0,
    lines: () => text.slice(0, text.lastIndexOf("\n") + 1).split("\n").filter(Boolean),
    messages: () => self.lines().map((line) => JSON.parse(line)),
    line: (value) => child.stdin.write(`${typeof value === "string" ? value : JSON.stringify(value)}\n`),
    raw: (id, ms = 20_000) =>
      until(`an answer to ${id}`, () => {
        const found = self.lines().find((line) => { const message = JSON.parse(line); return message.id === id && message.method === undefined; });
        if (!found) assert.equal(self.code, undefined, `it lives: ${self.stderr.slice(-2000)}`);
        return found;
      }, ms),
    answer: async (id, ms) => JSON.parse(await self.raw(id, ms)),
    send(method, params) {
      const id = ++last;
      self.line({ jsonrpc: "2.0", id, method, ...(params !== undefined && { params }) });
      return id;
    },
    ask: (method, params, ms) => self.answer(self.send(method, params), ms),
    modern: (method, params = {}, ms) => self.ask(method, { ...params, _meta: meta(params._meta) }, ms),
    async initialize(capabilities = {}) {
      const done = await self.ask("initialize", { protocolVersion: "2025-06-18", capabilities, clientInfo: { name: "e2e", version: "1" } });
      self.line({ jsonrpc: "2.0", method: "notifications/initialized" });
      return done;
    },
    async end() {
      child.stdin.end();
      await until("its end", () => self.code !== undefined, 5_000);
      return self.code;
    },
  });
}
