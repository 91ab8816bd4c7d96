// The programs under test: where they are, how they are started, and that none outlives its test.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { until } from "./wait.mjs";

const here = dirname(fileURLToPath(import.meta.url));
export const root = resolve(here, "../../..");

/** The folder with the binaries: BIN_DIR, else the release build, else the debug build. */
export const binDir =
  process.env.BIN_DIR ??
  ["target/release", "target/debug"].map((d) => join(root, d)).find((d) => existsSync(join(d, "authz-service"))) ??
  join(root, "target/release");

/** The path of a program; an error that says what to do when it was not built. */
export function program(name) {
  const path = join(binDir, name);
  if (!existsSync(path)) throw new Error(`${path} is missing: build it with cargo build, or set BIN_DIR`);
  return path;
}

const running = new Set();
const folders = new Set();

/** A fresh folder that disappears with the test process. */
export function tempFolder(name = "e2e") {
  const path = mkdtempSync(join(tmpdir(), `${name}-`));
  folders.add(path);
  return path;
}

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

/** The environment of a child: ours without anything that would steer the programs. */
export function cleanEnv(more = {}) {
  const env = { ...process.env };
  for (const name of Object.keys(env)) {
    if (/^(MCP_|RUST_LOG$|BROWSER$|DISPLAY$|WAYLAND_DISPLAY$|NODE_TEST|NODE_OPTIONS$|npm_|.*_proxy$)/i.test(name)) delete env[name];
  }
  Object.assign(env, more);
  for (const [name, value] of Object.entries(env)) if (value === undefined) delete env[name];
  return env;
}

/**
 * Starts a program; its output is collected, and it is killed with this process at the latest. `ulimit` is what the
 * shell's builtin takes, such as `-n 64`.
 */
export function start(name, args, { env = {}, stdin = "ignore", cwd, ulimit } = {}) {
  const [command, words] = ulimit ? ["bash", ["-c", `ulimit ${ulimit} && exec "$@"`, "bash", program(name), ...args]] : [program(name), args];
  const child = spawn(command, words, { env: cleanEnv(env), stdio: [stdin, "pipe", "pipe"], cwd });
  running.add(child);
  // A test that failed may have left its programs running: they must not keep the test process alive, which ends
  // them on its way out.
  for (const part of [child, child.stdin, child.stdout, child.stderr]) part?.unref?.();
  const run = { child, pid: child.pid, stdout: "", stderr: "", code: undefined, signal: undefined };
  child.stdout.setEncoding("utf8").on("data", (text) => (run.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text) => (run.stderr += text));
  run.exited = new Promise((done) => {
    child.on("error", (error) => {
      run.stderr += String(error);
      run.code = -1;
      running.delete(child);
      done(-1);
    });
    child.on("close", (code, signal) => {
      [run.code, run.signal] = [code, signal];
      running.delete(child);
      done(code);
    });
  });
  return run;
}

/** Runs a program to its end with a text on its standard input. */
export function runToEnd(name, args, { input = "", env = {}, cwd, timeout = 60_000 } = {}) {
  const done = spawnSync(program(name), args, { input, env: cleanEnv(env), cwd, encoding: "utf8", timeout });
  return { code: done.status, stdout: done.stdout ?? "", stderr: done.stderr ?? "", error: done.error };
}

/** A loopback port that nobody listens on at this moment. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Ends a program as an operator would; kills it when it does not go. */
export async function stop(run, signal = "SIGTERM", ms = 12_000) {
  if (run.code !== undefined) return run.code;
  run.child.kill(signal);
  try {
    await until(`exit of pid ${run.pid}`, () => run.code !== undefined || run.signal, ms);
  } catch (error) {
    run.child.kill("SIGKILL");
    throw error;
  }
  return run.code;
}
