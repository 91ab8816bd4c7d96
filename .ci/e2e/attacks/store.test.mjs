// STO, WAT, F and CFG: the folder that the processes share, and what happens when things break.

import assert from "node:assert/strict";
import { appendFileSync, chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { after, test } from "node:test";
import { CALLBACK, codeFor, login, person, redeem, refresh, register } from "../lib/flow.mjs";
import { get, postJson } from "../lib/http.mjs";
import { freePort, runToEnd, start, stop, tempFolder } from "../lib/programs.mjs";
import { addUser, service } from "../lib/service.mjs";
import { done, stdioServer, toolRefused } from "../lib/stdio.mjs";
import { until } from "../lib/wait.mjs";

const mode = (path) => statSync(path).mode & 0o777;
const registration = { redirect_uris: [CALLBACK], token_endpoint_auth_method: "none" };
const echo = (host, token) => host.call("echo", { message: "m", access_token: token });
const journalOf = (folder) => join(folder, readdirSync(folder).filter((name) => /^journal\..*\.jsonl$/.test(name)).sort().at(-1));

/** A store with a person and a token in it, and its service ended. */
async function stored() {
  const s = await service();
  const browser = await person(s);
  const client = await register(s);
  const got = await login(s, browser, client);
  await s.end();
  return { data: s.data, port: s.port, client, got };
}
/** Starts a service that must refuse to; what it said. */
async function refusesToStart(data) {
  const ended = runToEnd("authz-service", ["serve", "--port", String(await freePort()), "--data", data], { timeout: 8_000 });
  assert.ok(ended.code > 0, `it must end by itself with an error: ${ended.code} ${ended.stderr}`);
  assert.doesNotMatch(ended.stderr, /panicked/);
  return ended.stderr + ended.stdout;
}

test("STO-01 folder 0700, files 0600, whatever the umask", async () => {
  const old = process.umask(0);
  try {
    const s = await service();
    await person(s);
    assert.equal(mode(s.data), 0o700);
    for (const name of readdirSync(s.data)) assert.equal(mode(join(s.data, name)), 0o600, name);
    await s.end();
  } finally {
    process.umask(old);
  }
});
test("STO-02 nothing secret in clear, after a whole login", async () => {
  const s = await service();
  const browser = await person(s);
  for (const method of ["none", "client_secret_basic", "client_secret_post"]) {
    const client = await register(s, { token_endpoint_auth_method: method });
    if (method === "none") await login(s, browser, client);
    else await codeFor(s, browser, client);
  }
  await s.assertWell();
  assert.match(readdirSync(s.data).map((n) => readFileSync(join(s.data, n), "latin1")).join(""), /\$argon2id\$/);
  await s.end();
});
test("STO-02 every line of the journal is JSON", async () => {
  const { data } = await stored();
  for (const line of readFileSync(journalOf(data), "utf8").split("\n").filter(Boolean)) JSON.parse(line);
});
test("STO-03 a folder or file that others may write: refused, or repaired and said so", async () => {
  const { data } = await stored();
  for (const [path, bits] of [[data, 0o777], [journalOf(data), 0o666], [join(data, "keys.json"), 0o644]]) {
    const before = mode(path);
    chmodSync(path, bits);
    const port = await freePort();
    const run = start("authz-service", ["serve", "--port", String(port), "--data", data]);
    const up = () => get(`http://localhost:${port}/health`, { check: false }).then((a) => a.status === 200, () => false);
    const how = await until("an end or a start", async () => (run.code !== undefined ? "ended" : (await up()) && "up"));
    if (how === "ended") {
      assert.ok(run.code > 0);
      assert.ok(run.stderr.includes(path) || run.stderr.includes(path.split("/").at(-1)), run.stderr);
    } else {
      assert.equal(mode(path) & 0o077, 0, `${path} was repaired`);
      assert.ok((run.stderr + run.stdout).includes(path.split("/").at(-1)), "and it said so");
      await stop(run);
    }
    chmodSync(path, before);
  }
});
test("STO-03 the stdio server does not trust a store that others may write", async () => {
  const { data, got } = await stored();
  chmodSync(data, 0o777);
  const host = stdioServer(data);
  const answer = await echo(host, got.access_token);
  assert.ok(answer.result.isError, "a world-writable store is no authority");
  chmodSync(data, 0o700);
  await host.end();
});
test("STO-04 a store path that is a file, a FIFO, a device", async () => {
  const folder = tempFolder();
  writeFileSync(join(folder, "file"), "x");
  execFileSync("mkfifo", [join(folder, "fifo")]);
  for (const path of [join(folder, "file"), join(folder, "fifo"), "/dev/null", "/dev/zero", join(folder, "file", "below")]) {
    const said = await refusesToStart(path);
    assert.ok(said.includes(path) || said.includes(path.split("/").at(-1)), said);
  }
});
test("STO-04 a journal that is a folder or a FIFO", async () => {
  for (const make of [(path) => mkdirSync(path), (path) => execFileSync("mkfifo", [path])]) {
    const { data } = await stored();
    const path = journalOf(data);
    rmSync(path);
    make(path);
    await refusesToStart(data);
  }
});
test("STO-05 the store by a symlink works, and the link stays a link", async () => {
  const { data, got } = await stored();
  const link = join(tempFolder(), "link");
  symlinkSync(data, link);
  const s = await service({ data: link, users: [] });
  assert.equal((await postJson(s.at("/register"), registration)).status, 201);
  await s.end();
  const host = stdioServer(link);
  await until("the token through the link", async () => !(await echo(host, got.access_token)).result.isError);
  await host.end();
});
for (const [what, damage] of Object.entries({
  "a flipped byte in the middle": (path) => {
    const bytes = readFileSync(path);
    bytes[Math.floor(bytes.length / 3)] ^= 1;
    writeFileSync(path, bytes);
  },
  "a line taken out": (path) => writeFileSync(path, readFileSync(path, "utf8").split("\n").filter((_, i) => i !== 2).join("\n")),
  "two lines swapped": (path) => {
    const lines = readFileSync(path, "utf8").split("\n");
    [lines[1], lines[2]] = [lines[2], lines[1]];
    writeFileSync(path, lines.join("\n"));
  },
  "a line twice": (path) => writeFileSync(path, readFileSync(path, "utf8").split("\n").flatMap((line, i) => (i === 2 ? [line, line] : [line])).join("\n")),
  "a line of junk in the middle": (path) => writeFileSync(path, readFileSync(path, "utf8").split("\n").flatMap((line, i) => (i === 2 ? ["junk", line] : [line])).join("\n")),
  "an edited value": (path) => writeFileSync(path, readFileSync(path, "utf8").replace('"mcp:tools:execute', '"mcp:tools:execut3')),
  "another header": (path) => writeFileSync(path, readFileSync(path, "utf8").replace(/^.*\n/, '{"format":"other"}\n')),
})) {
  test(`STO-07 C12 ${what}: found, named, and nothing served`, async () => {
    const { data, got } = await stored();
    const path = journalOf(data);
    const before = readFileSync(path);
    damage(path);
    if (readFileSync(path).equals(before)) return assert.fail("the damage did not happen");
    const damaged = readFileSync(path);
    const said = await refusesToStart(data);
    assert.match(said, /line \d+|journal/i);
    assert.deepEqual(readFileSync(path), damaged, "nothing was changed");
    const host = stdioServer(data);
    toolRefused(await echo(host, got.access_token));
    await host.end();
  });
}
test("STO-06 a newer format is refused", async () => {
  const { data } = await stored();
  const path = journalOf(data);
  const text = readFileSync(path, "utf8");
  const [head] = text.split("\n");
  const newer = head.replace(/(\D)1(\D)/, "$199$2");
  writeFileSync(path, text.replace(head, newer));
  if (newer !== head) await refusesToStart(data);
});
test("F-03 a tail cut at any byte: the service starts, and every complete line is kept", async () => {
  const { data } = await stored();
  const path = journalOf(data);
  const whole = readFileSync(path);
  const lines = whole.toString().split("\n").filter(Boolean);
  const lastStart = whole.length - Buffer.byteLength(lines.at(-1)) - 1;
  const cuts = [lastStart + 1, lastStart + 2, Math.floor((lastStart + whole.length) / 2), whole.length - 2, whole.length - 1];
  for (const cut of cuts) {
    const copy = join(tempFolder(), "data");
    cpSync(data, copy, { recursive: true, preserveTimestamps: true, mode: 0 });
    chmodSync(copy, 0o700);
    truncateSync(join(copy, path.split("/").at(-1)), cut);
    const s = await service({ data: copy, users: [] });
    assert.equal((await postJson(s.at("/register"), registration)).status, 201, `cut at ${cut}`);
    const kept = readFileSync(journalOf(copy), "utf8");
    for (const line of lines.slice(0, -1)) assert.ok(kept.includes(line));
    await s.end();
    const again = await service({ data: copy, users: [] });
    await again.end();
  }
});
test("F-01 kill -9 right after answers loses nothing that was answered, 8 rounds", async () => {
  let s = await service();
  const browser = await person(s);
  const app = await register(s);
  const lives = [];
  for (let round = 0; round < 8; round += 1) {
    const held = await codeFor(s, browser, app);
    const redeemed = await redeem(s, app, held);
    assert.equal(redeemed.status, 200, redeemed.text);
    const answers = [];
    const load = Array.from({ length: 30 }, () => postJson(s.at("/register"), registration).then((a) => a.status === 201 && answers.push(a.json.client_id), () => {}));
    await until("some answers", () => answers.length >= 1 + round);
    s.run.child.kill("SIGKILL");
    await until("its end", () => s.run.code !== undefined);
    await Promise.all(load);
    lives.push({ ...redeemed.json });
    const from = Date.now();
    s = await service({ data: s.data, port: s.port, users: [] });
    assert.ok(Date.now() - from < 3_000, "the restart is quick");
    const text = readFileSync(journalOf(s.data), "utf8");
    for (const id of answers) assert.ok(text.includes(id), `${id} was answered`);
    for (const one of lives.splice(0)) lives.push((await refresh(s, app, one.refresh_token)).json);
    for (const one of lives) assert.ok(one.refresh_token, JSON.stringify(one));
  }
  await s.end();
});
test("F-13 F-14 two services and the admin command on one store: nothing lost", async () => {
  const a = await service();
  const b = await service({ data: a.data, users: [] });
  const host = stdioServer(a.data);
  await host.initialize();
  const ids = [];
  const load = Array.from({ length: 200 }, async (_, i) => {
    const answer = await postJson((i % 2 ? a : b).at("/register"), registration);
    assert.equal(answer.status, 201, answer.text);
    ids.push(answer.json.client_id);
  });
  for (const name of ["u1", "u2", "u3"]) addUser(a.data, name);
  await Promise.all(load);
  const text = readFileSync(journalOf(a.data), "utf8");
  for (const id of ids) assert.equal(text.split(`"${id}"`).length, 2, "once");
  // A client of one service logs in at the other with an account that was made beside both.
  const app = await register(a);
  const got = await login(b, await person(b, "u2"), app);
  done(await echo(host, got.access_token));
  assert.equal((await refresh(a, app, got.refresh_token)).status, 200, "and refreshes at the first");
  for (const one of [a, b]) {
    await one.assertWell();
    await one.end();
  }
  await host.end();
});
test("F-33 the stdio server goes on while the service is down", async () => {
  const { data, got } = await stored();
  const host = stdioServer(data);
  await until("the token", async () => !(await echo(host, got.access_token)).result.isError);
  await host.end();
});
test("WAT-03 F-09 F-10 the folder is taken away: refused within 5 s, and open again when it is back", async () => {
  const { data, got } = await stored();
  const host = stdioServer(data);
  await until("the token", async () => !(await echo(host, got.access_token)).result.isError);
  renameSync(data, `${data}.away`);
  await until("a refusal", async () => (await echo(host, got.access_token)).result.isError, 5_500);
  renameSync(`${data}.away`, data);
  await until("the token again", async () => !(await echo(host, got.access_token)).result.isError, 5_500);
  await host.end();
});
test("F-09 F-10 the folder of a running service is taken away: no new success", async () => {
  const s = await service();
  renameSync(s.data, `${s.data}.away`);
  const answer = await postJson(s.at("/register"), registration, { allow: [503] });
  assert.equal(answer.status, 503, answer.text);
  assert.ok(["temporarily_unavailable", "server_error"].includes(answer.json.error));
  assert.ok(answer.headers["retry-after"]);
  assert.ok(!existsSync(join(s.data, "keys.json")), "no fresh store is made in its place");
  rmSync(s.data, { recursive: true, force: true });
  renameSync(`${s.data}.away`, s.data);
  await until("recovery by itself", async () => (await postJson(s.at("/register"), registration, { allow: [503] })).status === 201);
  await s.end();
});
test("C12 an old copy put back is noticed", async () => {
  const s = await service();
  const path = journalOf(s.data);
  const old = join(tempFolder(), "old");
  copyFileSync(path, old);
  for (let i = 0; i < 3; i += 1) await register(s);
  copyFileSync(old, path);
  const answer = await postJson(s.at("/register"), registration, { allow: [503] });
  assert.equal(answer.status, 503, `a step back is not written over: ${answer.text}`);
  s.run.child.kill("SIGKILL");
});
test("C12 a line that somebody else appends is not believed", async () => {
  const s = await service();
  const path = journalOf(s.data);
  appendFileSync(path, '{"seq":999,"changes":[]}\n');
  const answer = await postJson(s.at("/register"), registration, { allow: [503] });
  assert.equal(answer.status, 503, answer.text);
  s.run.child.kill("SIGKILL");
});
test("F-11 a lock that is held: 503 within about 5 s, and served afterwards", async () => {
  const s = await service();
  const holder = execHold(join(s.data, "store.lock"));
  await until("the lock", () => holder.ready());
  const from = Date.now();
  const answer = await postJson(s.at("/register"), registration, { allow: [503] });
  assert.equal(answer.status, 503, answer.text);
  assert.ok(Date.now() - from < 8_000, `${Date.now() - from} ms`);
  assert.equal((await get(s.at("/.well-known/oauth-authorization-server"))).status, 200, "reads go on");
  holder.release();
  await until("recovery", async () => (await postJson(s.at("/register"), registration, { allow: [503] })).status === 201, 8_000);
  await s.end();
});
test("F-12 a lock holder that is killed leaves the lock free at once", async () => {
  const s = await service();
  const holder = execHold(join(s.data, "store.lock"));
  await until("the lock", () => holder.ready());
  const waiting = postJson(s.at("/register"), registration, { allow: [503] });
  holder.kill();
  assert.equal((await waiting).status, 201);
  await s.end();
});
test("STO-08 user names are never paths", () => {
  const data = join(tempFolder(), "data");
  for (const name of ["../x", "a/b", "", "a b", "<b>", "x".repeat(65), "a\nb", ".."]) {
    const ended = runToEnd("authz-service", ["user", "add", name, "--password-stdin", "--data", data], { input: "correct horse battery\n" });
    if (name === "..") continue;
    assert.ok(ended.code > 0, `${JSON.stringify(name)} ${ended.stdout}`);
  }
});
test("user add: short, empty, missing and doubled passwords and names", () => {
  const data = join(tempFolder(), "data");
  const add = (name, input) => runToEnd("authz-service", ["user", "add", name, "--password-stdin", "--data", data], { input });
  for (const input of ["", "\n", "short\n", "1234567\n", "x".repeat(5000)]) assert.ok(add("ada", input).code > 0, JSON.stringify(input.slice(0, 10)));
  assert.equal(add("ada", "correct horse battery\n").code, 0);
  const twice = add("ada", "another password here\n");
  assert.ok(twice.code > 0);
  assert.match(twice.stderr, /ada|exists|taken/);
  assert.ok(!(twice.stderr + twice.stdout).includes("another password"));
});

/** Holds a file's flock in another process until released. */
function execHold(path) {
  const script = "import fcntl,sys\nf=open(sys.argv[1],'r+')\nfcntl.flock(f,fcntl.LOCK_EX)\nprint('held',flush=True)\nsys.stdin.read()";
  const child = spawn("python3", ["-c", script, path], { stdio: ["pipe", "pipe", "inherit"] });
  let out = "";
  child.stdout.on("data", (part) => (out += part));
  after(() => child.kill("SIGKILL"));
  return { ready: () => out.includes("held"), release: () => child.stdin.end(), kill: () => child.kill("SIGKILL") };
}
