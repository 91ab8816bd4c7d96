// HTP: what may arrive as HTTP, or nearly.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import net from "node:net";
import { after, test } from "node:test";
import { CALLBACK } from "../lib/flow.mjs";
import { get, post, postJson, raw, statuses } from "../lib/http.mjs";
import { cleanEnv, freePort, program, runToEnd, tempFolder } from "../lib/programs.mjs";
import { service } from "../lib/service.mjs";
import { until, within } from "../lib/wait.mjs";

const s = await service();
after(() => s.end());
const HOST = `localhost:${s.port}`;
const registration = JSON.stringify({ redirect_uris: [CALLBACK], token_endpoint_auth_method: "none" });

/** Sends text, expects one of these codes as the first answer. */
async function sends(text, codes, options) {
  const seen = await raw(s.port, text.replaceAll("HOST", HOST), options);
  assert.ok(codes.includes(statuses(seen)[0]), `${codes}, not ${seen.slice(0, 200)}`);
  return seen;
}
const ALIVE = "GET /health HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n";

for (const path of ["/register", "/oauth/token", "/oauth/authorize", "/login", "/oauth/revoke", "/oauth/introspect"]) {
  test(`HTP-01 ${path}: a body above the limit is refused without reading it all`, async () => {
    const text = `POST ${path} HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000000\r\n\r\n${"a".repeat(1000)}`;
    const from = Date.now();
    await sends(text, [413], { done: (seen) => /\r\n\r\n/.test(seen), ms: 8_000 });
    assert.ok(Date.now() - from < 7_000, "at once");
  });
  test(`HTP-01 HTP-05 ${path}: a chunked body above the limit`, async () => {
    const chunk = `4000\r\n${"a".repeat(0x4000)}\r\n`;
    const text = [`POST ${path} HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`.replace("HOST", HOST), ...Array(64).fill(chunk), "0\r\n\r\n"];
    const seen = await raw(s.port, text, { done: (all) => /\r\n\r\n/.test(all), ms: 8_000 });
    assert.equal(statuses(seen)[0], 413, seen.slice(0, 200));
  });
}
test("HTP-01 the answer to a body above the limit is a JSON error with no-store", async () => {
  const answer = await postJson(s.at("/register"), JSON.stringify({ redirect_uris: [CALLBACK], x: "a".repeat(70_000) }));
  assert.equal(answer.status, 413);
  assert.equal(answer.json.error, answer.json.error.toLowerCase());
});
test("HTP-02 headers that come slowly end after about 10 s", async () => {
  const from = Date.now();
  await drip("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", 20_000);
  const took = Date.now() - from;
  assert.ok(took > 3_000 && took < 16_000, `${took} ms`);
});
test("HTP-02 a body that comes slowly ends after about 30 s", async () => {
  const from = Date.now();
  await drip(`POST /oauth/token HTTP/1.1\r\nHost: ${HOST}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 5000\r\n\r\n`, 45_000);
  const took = Date.now() - from;
  assert.ok(took > 8_000 && took < 40_000, `${took} ms`);
});

/** Sends a byte now and then, until the peer closes. */
function drip(head, limit) {
  return within(limit, "the peer to close", new Promise((resolve) => {
    const socket = net.connect(s.port, "127.0.0.1", () => socket.write(head));
    const timer = setInterval(() => socket.write("a"), 500);
    socket.on("data", () => {});
    for (const event of ["close", "error", "end"]) socket.on(event, () => (clearInterval(timer), socket.destroy(), resolve()));
  }));
}

for (const count of [1_000, 3_000, 10_000]) {
  test(`HTP-03 ${count} idle connections, under the usual soft limit of 1 024 descriptors: new requests are answered within 1 s`, async () => {
    const other = await service({ users: [], ulimit: "-Sn 1024", log: "info" });
    const sockets = await Promise.all(Array.from({ length: count }, () => new Promise((resolve) => {
      const socket = net.connect(other.port, "127.0.0.1", () => socket.write("G", () => resolve(socket))).on("error", () => resolve(socket));
      socket.resume();
      setTimeout(() => resolve(socket), 3_000).unref();
    })));
    try {
      const from = Date.now();
      assert.equal((await get(other.at("/health"))).status, 200);
      assert.ok(Date.now() - from < 1_000, `${Date.now() - from} ms`);
    } finally {
      for (const socket of sockets) socket.destroy();
      await other.end();
    }
  });
}
for (const coding of ["xchunked", "chunked, identity", "identity", "chunked, chunked", "gzip, chunked", "\tchunked", "CHUNKED"]) {
  test(`HTP-05 Transfer-Encoding ${JSON.stringify(coding)}: read as chunks, or refused; never two meanings`, async () => {
    const seen = await raw(s.port, `POST /oauth/token HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: ${coding}\r\n\r\n0\r\n\r\n${ALIVE}`.replaceAll("HOST", HOST), { ms: 1_500 });
    const all = statuses(seen);
    assert.ok(all[0] >= 400 && all[0] <= 501, seen.slice(0, 100));
    assert.ok(all.length <= 2, `${all}`);
  });
}
test("HTP method overrides are not read", async () => {
  for (const name of ["x-http-method-override", "x-http-method", "x-method-override"]) assert.equal((await get(s.at("/register"), { headers: { [name]: "POST" } })).status, 405);
});
test("HTP cookies that are huge, many, twice, or broken", async () => {
  for (const cookie of ["a=b; ".repeat(1000), `session=${"x".repeat(8000)}`, "=;=;=", "a", "\u00ff=\u00ff", "a=\"b; c=d", ";;;;"]) {
    const answer = await get(s.at("/oauth/authorize?client_id=x"), { headers: { cookie } });
    assert.ok([400, 431].includes(answer.status), `${answer.status}`);
  }
});
test("HTP a proxy's headers are not believed without a proxy", async () => {
  const answer = await get(s.at("/.well-known/oauth-authorization-server"), { headers: { "x-forwarded-for": "1.2.3.4, <script>", "x-forwarded-proto": "https", "x-forwarded-host": "evil.example", "x-real-ip": "x", forwarded: "for=\"_x\";proto=https" } });
  assert.equal(answer.json.issuer, s.issuer);
});
for (const path of ["/nope", "/oauth", "/oauth/", "/oauth/nope", "/.env", "/.git/config", "/admin", "/oauth/token/", "/oauth/token/x", "/OAuth/Token", "/.well-known/", "/.well-known/nope", "/assets/", "/assets/../keys.json", "/assets/%2e%2e/keys.json", "/keys.json", "/data/keys.json", "/%00", "/%ff", "/a%0d%0aX-Injected:1", "/<script>alert(1)</script>", "//evil.example/", "/\\evil.example", "/oauth/authorize;x"]) {
  test(`HTP-04 ${path} is 404`, async () => {
    const seen = await raw(s.port, `GET ${path} HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
    // A target that is no URI does not get past the parser, which answers 400 and nothing else.
    if (statuses(seen)[0] === 400) return assert.match(seen, /content-length: 0/i);
    assert.equal(statuses(seen)[0], 404, seen.slice(0, 200));
    assert.match(seen, /x-content-type-options: nosniff/i);
    assert.match(seen, /cache-control: [^\r]*no-store/i);
    assert.ok(!/<script>alert/.test(seen) && !/x-injected/i.test(seen.split("\r\n\r\n")[0]));
  });
}
for (const [path, method, allow] of [["/health", "POST", /GET/], ["/", "DELETE", /GET/], ["/login", "PUT", /POST/], ["/oauth/jwks", "PATCH", /GET/], ["/oauth/token", "TRACE", /POST/], ["/oauth/token", "FOO", /POST/], ["/oauth/authorize", "PROPFIND", /GET/]]) {
  test(`HTP-04 ${method} ${path} is 405 with Allow`, async () => {
    const seen = await sends(`${method} ${path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, [405, 501]);
    assert.match(seen.match(/^allow: .*$/im)?.[0] ?? "", allow);
  });
}
test("HTP-05 a chunked registration", async () => {
  const seen = await sends(`POST /register HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${[...registration].map((c) => `1\r\n${c}\r\n`).join("")}0\r\n\r\n`, [201]);
  assert.match(seen, /client_id/);
});
test("HTP-05 Expect: 100-continue", async () => {
  const seen = await raw(s.port, [`POST /register HTTP/1.1\r\nHost: ${HOST}\r\nContent-Type: application/json\r\nContent-Length: ${registration.length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`, registration]);
  assert.ok(statuses(seen).includes(201), seen.slice(0, 200));
});
test("HTP-05 HTTP/1.0", async () => {
  await sends("GET /health HTTP/1.0\r\nHost: HOST\r\n\r\n", [200]);
  await sends(`POST /register HTTP/1.0\r\nHost: HOST\r\nContent-Type: application/json\r\nContent-Length: ${registration.length}\r\n\r\n${registration}`, [201]);
});
test("HTP-05 pipelined requests are answered in order", async () => {
  const one = (path) => `GET ${path} HTTP/1.1\r\nHost: HOST\r\n\r\n`;
  const seen = await raw(s.port, (one("/health") + one("/nope") + one("/.well-known/oauth-authorization-server") + ALIVE).replaceAll("HOST", HOST));
  assert.deepEqual(statuses(seen), [200, 404, 200, 200]);
});
for (const [what, text] of Object.entries({
  "no Host": "GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", "two Hosts": "GET /health HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\nConnection: close\r\n\r\n", "two different Hosts": "GET /health HTTP/1.1\r\nHost: HOST\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "an empty Host": "GET /health HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
  "a Host with a path": "GET /health HTTP/1.1\r\nHost: HOST/x\r\nConnection: close\r\n\r\n", "a Host with a space": "GET /health HTTP/1.1\r\nHost: HOST evil\r\nConnection: close\r\n\r\n",
})) test(`HTP-06 ${what}`, () => sends(text, [400, 421]));
test("HTP-06 an absolute target that names another host", () => sends("GET http://evil.example/health HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n", [400, 403, 404, 421]));
for (const [what, text] of Object.entries({
  "two lengths": `POST /register HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\nContent-Length: ${registration.length}\r\nContent-Length: 5\r\n\r\n${registration}`,
  "length and chunks": `POST /register HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  "a negative length": `POST /register HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n`,
  "a length with a plus": `POST /register HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\nContent-Length: +5\r\n\r\n{"a":`,
  "a chunk size that is none": `POST /register HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`,
  "a header with a space before the colon": "GET /health HTTP/1.1\r\nHost : HOST\r\n\r\n", "a folded header": "GET /health HTTP/1.1\r\nHost: HOST\r\nX: a\r\n b\r\n\r\n", "NUL in a header": "GET /health HTTP/1.1\r\nHost: HOST\r\nX: a\u0000b\r\n\r\n",
  "no version": "GET /health\r\n\r\n", "HTTP/3": "GET /health HTTP/3.0\r\nHost: HOST\r\n\r\n", "TLS": "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001", "garbage": "\u0000\u0001\u0002\u0003\r\n\r\n",
})) {
  test(`HTP-05 a request with ${what} is refused or closed`, async () => {
    const seen = await raw(s.port, text.replaceAll("HOST", HOST), { ms: 1_500 });
    const [status] = statuses(seen);
    assert.ok(status === undefined || (status >= 400 && status < 500) || status === 505 || status === 501, seen.slice(0, 200));
  });
}
test("C9 a request line of more than 16 KiB, a header block of more than 32 KiB", async () => {
  for (const text of [`GET /${"a".repeat(17 * 1024)} HTTP/1.1\r\nHost: HOST\r\n\r\n`, `GET /oauth/authorize?x=${"a".repeat(17 * 1024)} HTTP/1.1\r\nHost: HOST\r\n\r\n`]) await sends(text, [400, 414, 431], { done: (seen) => /\r\n\r\n/.test(seen) });
  const big = Array.from({ length: 40 }, (_, i) => `X-${i}: ${"a".repeat(1000)}\r\n`).join("");
  await sends(`GET /health HTTP/1.1\r\nHost: HOST\r\n${big}\r\n`, [400, 431], { done: (seen) => /\r\n\r\n/.test(seen) });
  const many = Array.from({ length: 200 }, (_, i) => `X-${i}: a\r\n`).join("");
  await sends(`GET /health HTTP/1.1\r\nHost: HOST\r\n${many}\r\n`, [200, 400, 431], { done: (seen) => /\r\n\r\n/.test(seen) });
});
test("C9 a request line of exactly 16 KiB is read, and of one byte more is not", async () => {
  const line = (bytes) => `GET /health?x=${"a".repeat(bytes - "GET /health?x= HTTP/1.1".length)} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n`;
  await sends(line(16 * 1024), [200]);
  await sends(line(16 * 1024 + 1), [414]);
});
test("C9 a header block without an end does not grow memory", async () => {
  await new Promise((resolve) => {
    const socket = net.connect(s.port, "127.0.0.1", async () => {
      for (let i = 0; i < 200 && !socket.destroyed; i += 1) {
        if (!socket.write("a".repeat(65_536))) await new Promise((go) => (socket.once("drain", go), socket.once("close", go)));
      }
      socket.destroy();
    });
    socket.on("data", () => {});
    socket.on("error", () => {});
    socket.on("close", resolve);
  });
  assert.equal((await get(s.at("/health"))).status, 200);
});
test("HTP a connection that is cut in the middle of a body", async () => {
  for (let i = 0; i < 20; i += 1) {
    await new Promise((resolve) => {
      const socket = net.connect(s.port, "127.0.0.1", () => socket.write(`POST /register HTTP/1.1\r\nHost: ${HOST}\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"redirect_uris":`, () => (socket.resetAndDestroy(), resolve())));
      socket.on("error", () => {});
    });
  }
  assert.equal((await get(s.at("/health"))).status, 200);
});
test("HTP unusual encodings of a body are refused or read as they are", async () => {
  for (const encoding of ["gzip", "br", "deflate", "identity", "x"]) {
    const answer = await post(s.at("/oauth/token"), { grant_type: "refresh_token" }, { headers: { "content-encoding": encoding } });
    assert.ok([400, 401, 415].includes(answer.status), `${encoding}: ${answer.status}`);
  }
});
test("F-20 SIGTERM with requests in flight ends with 0 within 10 s", async () => {
  const other = await service({ users: [] });
  let [ok, cut] = [0, 0];
  const all = Array.from({ length: 200 }, () => postJson(other.at("/register"), registration).then((a) => (a.status === 201 ? (ok += 1) : (cut += 1)), () => (cut += 1)));
  await until("some answers", () => ok > 20);
  const from = Date.now();
  assert.equal(await other.end(), 0);
  assert.ok(Date.now() - from < 10_000);
  await Promise.all(all);
  assert.ok(ok >= 20);
});
test("F-36 a closed stderr and stdout do not stop the service", async () => {
  const other = await service({ users: [] });
  try {
    other.run.child.stderr.destroy();
    other.run.child.stdout.destroy();
    for (let i = 0; i < 20; i += 1) assert.equal((await postJson(other.at("/register"), registration)).status, 201);
  } finally {
    await other.end();
  }
});
test("F-36 logs that nobody reads stop neither the service nor its end", async () => {
  const port = await freePort();
  const child = spawn(program("authz-service"), ["serve", "--port", String(port), "--data", `${tempFolder()}/d`, "--rate-limits", "off"], { env: cleanEnv({ RUST_LOG: "debug" }), stdio: ["ignore", "pipe", "pipe"] });
  try {
    child.stdout.pause();
    child.stderr.pause();
    await until("the service", () => get(`http://localhost:${port}/health`, { check: false }).then((answer) => answer.status === 200, () => false));
    for (let i = 0; i < 1_500; i += 1) assert.equal((await postJson(`http://localhost:${port}/register`, registration)).status, 201);
    child.kill("SIGTERM");
    await until("its end", () => child.exitCode !== null, 10_000);
    assert.equal(child.exitCode, 0);
  } finally {
    child.kill("SIGKILL");
  }
});
test("CFG-05 F-27 a port that is taken ends at once with its number", async () => {
  const from = Date.now();
  const done = runToEnd("authz-service", ["serve", "--port", String(s.port), "--data", `${tempFolder()}/d`], { timeout: 10_000 });
  assert.ok(done.code > 0, `${done.code}`);
  assert.ok(done.stderr.includes(String(s.port)), done.stderr);
  assert.ok(Date.now() - from < 3_000);
});
for (const args of [["--port", "99999"], ["--port", "x"], ["--port", "-1"], ["--listen", "nowhere"], ["--nope"], ["frobnicate"], ["--data"]]) {
  test(`CFG-06 ${args.join(" ")} is refused at once, naming it`, () => {
    const done = runToEnd("authz-service", args[0] === "frobnicate" ? args : ["serve", ...args], { timeout: 5_000, cwd: tempFolder() });
    assert.ok(done.code > 0, `${done.code}`);
    assert.ok(done.stderr.length > 10);
    assert.doesNotMatch(done.stderr, /panicked/);
  });
}
test("CFG-02 plain HTTP off loopback is refused at the start", async () => {
  for (const more of [[], ["--issuer", "http://192.168.1.2:3000"]]) {
    const done = runToEnd("authz-service", ["serve", "--listen", `0.0.0.0:${await freePort()}`, "--data", `${tempFolder()}/d`, ...more], { timeout: 5_000 });
    assert.ok(done.code > 0, `${more} ${done.code} ${done.stderr}`);
  }
});
test("C15 after all of this it lives, and wrote down no secret", () => s.assertWell());
