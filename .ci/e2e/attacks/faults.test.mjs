// F: full and read-only disks, few descriptors, restarts in the middle of a login.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { ALLOW, CALLBACK, authorize, logIn, login, person, pkce, redirected, refresh, register, request } from "../lib/flow.mjs";
import { get, postJson, withQuery } from "../lib/http.mjs";
import { Browser, forms, loginFields } from "../lib/page.mjs";
import { start, tempFolder } from "../lib/programs.mjs";
import { service } from "../lib/service.mjs";
import { done, stdioServer } from "../lib/stdio.mjs";
import { until } from "../lib/wait.mjs";

const registration = { redirect_uris: [CALLBACK], token_endpoint_auth_method: "none" };
const tries = (s) => postJson(s.at("/register"), registration, { allow: [503] });

/** A small disk of its own; `undefined` where mounting is not allowed. */
function disk(megabytes = 1) {
  const at = tempFolder("disk");
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=0700`, "tmpfs", at], { stdio: "ignore" });
  } catch {
    return undefined;
  }
  const gone = () => {
    try {
      execFileSync("umount", ["-l", at], { stdio: "ignore" });
    } catch {
      // It is gone already.
    }
  };
  process.on("exit", gone);
  after(gone);
  return { at };
}

test("F-06 disk full: 503 with Retry-After, the old state stays, reads and the stdio server go on, and it heals", async (t) => {
  const small = disk();
  if (!small) return t.skip("mounting is not allowed here");
  const s = await service({ data: join(small.at, "data"), log: "info" });
  const browser = await person(s);
  const client = await register(s);
  const got = await login(s, browser, client);
  const host = stdioServer(s.data);
  await host.initialize();
  const filler = join(small.at, "filler");
  try {
    writeFileSync(filler, Buffer.alloc(1024 * 1024));
  } catch {
    // Full is what it should be.
  }
  let refusal;
  const accepted = [];
  for (let i = 0; i < 400 && !refusal; i += 1) {
    const answer = await tries(s);
    if (answer.status === 503) refusal = answer;
    else accepted.push(answer.json.client_id);
  }
  assert.ok(refusal, "a full disk was noticed");
  assert.ok(refusal.headers["retry-after"], "Retry-After");
  assert.ok(["temporarily_unavailable", "server_error"].includes(refusal.json.error));
  assert.equal((await get(s.at("/.well-known/oauth-authorization-server"))).status, 200);
  done(await host.call("echo", { message: "m", access_token: got.access_token }));
  rmSync(filler);
  await until("healing", async () => (await tries(s)).status === 201);
  assert.equal((await refresh(s, client, got.refresh_token)).status, 200);
  await s.end();
  const again = await service({ data: s.data, users: [] });
  assert.equal((await get(again.at("/health"))).status, 200);
  await again.end();
  await host.end();
});
test("F-06 a limit on the size of files: 503 as on a full disk, the process lives, and it heals", async () => {
  const first = await service({ log: "info" });
  const client = await register(first);
  const got = await login(first, await person(first), client);
  await first.end();
  const s = await service({ data: first.data, port: first.port, users: [], log: "info", ulimit: "-Sf 64" });
  let refusal;
  for (let i = 0; i < 1000 && !refusal; i += 1) {
    const answer = await tries(s);
    if (answer.status === 503) refusal = answer;
    else assert.equal(answer.status, 201);
  }
  assert.ok(refusal?.headers["retry-after"], "a limit was noticed");
  assert.equal((await refresh(s, client, got.refresh_token, {}, { allow: [503] })).status, 503);
  const host = stdioServer(s.data);
  done(await host.call("echo", { message: "m", access_token: got.access_token }));
  await host.end();
  execFileSync("prlimit", ["--pid", String(s.run.pid), "--fsize=unlimited:"]);
  await until("healing", async () => (await tries(s)).status === 201);
  assert.equal((await refresh(s, client, got.refresh_token)).status, 200);
  assert.equal(await s.end(), 0);
});
test("F-06 a command that meets the limit says so, and is not killed", async () => {
  const run = start("authz-service", ["user", "add", "ada", "--password-stdin", "--data", join(tempFolder(), "data")], { ulimit: "-f 0", stdin: "pipe" });
  run.child.stdin.on("error", () => {});
  run.child.stdin.end("correct horse battery staple\n");
  await until("its end", () => run.code !== undefined);
  assert.equal(run.code, 1, `${run.signal} ${run.stderr}`);
  assert.match(run.stderr, /^authz-service: .+/);
});
test("F-08 read-only: /health and /ready say so, tools go on, and it heals", async (t) => {
  const small = disk(4);
  if (!small) return t.skip("mounting is not allowed here");
  const s = await service({ data: join(small.at, "data"), log: "info" });
  const browser = await person(s);
  const got = await login(s, browser, await register(s));
  const host = stdioServer(s.data);
  await host.initialize();
  const asked = async (path) => get(s.at(path), { check: false });
  assert.equal((await asked("/ready")).json.ready, true);
  // The same folder, read-only, in its own place: what is open stays open, and nothing else can be written.
  execFileSync("mount", ["--bind", small.at, small.at], { stdio: "ignore" });
  execFileSync("mount", ["-o", "remount,ro,bind", small.at], { stdio: "ignore" });
  try {
    const [health, ready] = [await asked("/health"), await asked("/ready")];
    assert.deepEqual([health.status, health.json.status], [503, "degraded"]);
    assert.deepEqual([ready.status, ready.json.checks.store_readable, ready.json.checks.store_writable], [503, true, false]);
    assert.ok([201, 503].includes((await tries(s)).status));
    done(await host.call("echo", { message: "m", access_token: got.access_token }));
  } finally {
    execFileSync("umount", ["-l", small.at], { stdio: "ignore" });
  }
  await until("healing", async () => (await asked("/health")).json.status === "ok");
  assert.equal((await tries(s)).status, 201);
  await s.end();
  await host.end();
});
test("F-28 64 descriptors and 200 connections: it recovers, without a crash", async () => {
  const s = await service({ ulimit: "-n 64", log: "info" });
  const sockets = await Promise.all(Array.from({ length: 200 }, () => new Promise((resolve) => {
    const socket = net.connect(s.port, "127.0.0.1", () => resolve(socket)).on("error", () => resolve(socket));
    setTimeout(() => resolve(socket), 2_000).unref();
  })));
  for (const socket of sockets) socket.destroy();
  await until("recovery", async () => tries(s).then((a) => a.status === 201, () => false), 15_000);
  await s.assertWell();
  await s.end();
});
test("F-34 a restart between login page, consent page and code: start again or go on, never half a session", async () => {
  let s = await service();
  const client = await register(s);
  const visitor = new Browser(s.url);
  const asked = withQuery(s.at("/oauth/authorize"), request(client, pkce()));
  const page = await visitor.open(asked);
  s.run.child.kill("SIGKILL");
  await until("its end", () => s.run.code !== undefined);
  s = await service({ data: s.data, port: s.port, users: [] });
  let next = await logIn(visitor, page, "ada");
  if (loginFields(next) || next.status >= 400) next = await logIn(visitor, await visitor.open(asked), "ada");
  assert.ok(forms(next.text).some((one) => one.buttons.some((b) => ALLOW.test(b.words))), "the consent page");
  await s.end();
  s = await service({ data: s.data, port: s.port, users: [] });
  const answer = await visitor.submit(next, { press: ALLOW, follow: false });
  if ([302, 303].includes(answer.status)) assert.ok(redirected(answer).get("code"));
  else assert.ok(answer.status >= 400 && answer.status < 500, `${answer.status}`);
  const fresh = await authorize(s, visitor, request(client, pkce()));
  assert.equal(fresh.status, 200);
  await s.assertWell();
  await s.end();
});
test("F-21 the stdio server is killed: the store is as before, and the next one works", async () => {
  const s = await service();
  const got = await login(s, await person(s), await register(s));
  for (let i = 0; i < 5; i += 1) {
    const host = stdioServer(s.data);
    done(await host.call("echo", { message: "m", access_token: got.access_token }));
    host.run.child.kill("SIGKILL");
  }
  assert.equal((await tries(s)).status, 201);
  await s.end();
});
test("F-04 files of a crash that lie around are no store", async () => {
  const s = await service();
  await register(s);
  await s.end();
  for (const name of ["journal.2.jsonl.tmp", ".journal.tmp", "keys.json.tmp", "snapshot.1.jsonl.tmp", "x.tmp"]) writeFileSync(join(s.data, name), "junk", { mode: 0o600 });
  mkdirSync(join(s.data, "folder"), { mode: 0o700 });
  const again = await service({ data: s.data, users: [] });
  assert.equal((await tries(again)).status, 201);
  await again.end();
});
