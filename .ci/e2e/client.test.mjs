// mcp-client as a person uses it in a terminal, beside a service started by hand; and what a hostile server may tell it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, test } from "node:test";
import { ALLOW, DENY, logIn } from "./lib/flow.mjs";
import { Browser, loginFields } from "./lib/page.mjs";
import { cleanEnv, program, tempFolder } from "./lib/programs.mjs";
import { service } from "./lib/service.mjs";
import { until } from "./lib/wait.mjs";

const s = await service();
after(() => s.end());

/** A `$BROWSER` that writes the URL down, so that the test can play the person. */
const opened = join(tempFolder("browser"), "url");
const browserScript = join(tempFolder("browser"), "open");
writeFileSync(browserScript, `#!/bin/sh\nprintf '%s\\n' "$#" "$1" > ${opened}.new && mv ${opened}.new ${opened}\n`);
chmodSync(browserScript, 0o755);

/** Runs mcp-client; `person` is called with the URL that its browser was started with. */
async function client(args, { store = tempFolder("vault"), person, env = {}, input = "" } = {}) {
  if (existsSync(opened)) writeFileSync(opened, "");
  const full = [...args.slice(0, 1), "--store", store, ...args.slice(1)];
  let result;
  const child = execFile(program("mcp-client"), full, { env: cleanEnv({ BROWSER: browserScript, MCP_AUTHZ_ISSUER: s.url, MCP_AUTHZ_DATA: s.data, HOME: store, ...env }), timeout: 60_000 }, (error, stdout, stderr) => {
    result = { code: error ? (error.code ?? -1) : 0, stdout, stderr, json: parse(stdout) };
  });
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  if (person) {
    const url = await until("the browser", () => (result ? { result } : existsSync(opened) && readFileSync(opened, "utf8").trim()), 15_000);
    if (typeof url === "string") {
      const [count, address] = url.split("\n");
      assert.equal(count, "1", "DSC-02 the URL is one argument");
      await person(address);
    }
  }
  await until("mcp-client to end", () => result, 60_000);
  result.store = store;
  return result;
}
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Logs in, presses a button, and follows the redirect to the client's callback. */
const presses = (press) => async (url) => {
  const visitor = new Browser(s.url);
  const page = await visitor.open(url);
  const consent = loginFields(page) ? await logIn(visitor, page, "ada") : page;
  const answer = await visitor.submit(consent, { press, follow: false });
  await fetch(answer.location);
};
const login = (options) => client(["login", "--json"], { person: presses(ALLOW), ...options });

test("demo needs nobody, walks the whole path, and ends with 0", async () => {
  const done = await client(["demo"], { env: { MCP_AUTHZ_ISSUER: undefined, MCP_AUTHZ_DATA: undefined } });
  assert.equal(done.code, 0, done.stderr + done.stdout);
  for (const step of [/Step 1/i, /Step 2/i, /Step 3/i, /Step 4/i]) assert.match(done.stdout, step);
  assert.match(done.stdout, /echo/);
  const json = await client(["demo", "--json"], { env: { MCP_AUTHZ_ISSUER: undefined, MCP_AUTHZ_DATA: undefined } });
  assert.equal(json.code, 0, json.stderr);
  assert.ok(json.json, json.stdout.slice(0, 300));
});
test("login, status, tools, call, refresh, list, logout", async () => {
  const store = tempFolder("vault");
  const run = (...args) => client(args, { store });
  assert.equal((await run("status")).code, 3, "no login yet");
  const shut = await run("call", "echo", "--args", '{"message":"hi"}');
  assert.equal(shut.code, 3, shut.stderr);
  const made = await login({ store });
  assert.equal(made.code, 0, made.stderr);
  assert.ok(made.json, made.stdout);
  assert.equal((await run("status")).code, 0);
  const tools = await run("tools", "--json");
  assert.equal(tools.code, 0, tools.stderr);
  assert.match(tools.stdout, /public_info/);
  const called = await run("call", "echo", "--args", '{"message":"hi"}', "--json");
  assert.equal(called.code, 0, called.stderr);
  assert.match(called.stdout, /"authorized":\s*true/);
  assert.equal((await run("refresh")).code, 0);
  assert.equal((await run("call", "whoami")).code, 0);
  const own = await run("call", "echo", "--args", '{"message":"hi"}', "--stdio", "--", program("mcp-stdio-server"), "--data", s.data);
  assert.equal(own.code, 0, own.stderr);
  const listed = await run("list", "--json");
  assert.equal(listed.code, 0);
  const out = await run("logout");
  assert.equal(out.code, 0, out.stderr);
  assert.equal((await run("status")).code, 3);
  assert.equal((await run("call", "whoami")).code, 3);
  for (const one of [made, tools, called, own, listed, out]) for (const text of [one.stdout, one.stderr]) assert.doesNotMatch(text, /eyJ[\w-]{20,}\.[\w-]+\.[\w-]+/, "CRD-07 no token is printed");
});
test("CRD-01 CRD-02 owner-only files, whatever the umask; names are not paths", async () => {
  const old = process.umask(0);
  try {
    const { store, code } = await login();
    assert.equal(code, 0);
    const all = readdirSync(store, { recursive: true, withFileTypes: true });
    assert.ok(all.length);
    for (const entry of all) assert.equal(statSync(join(entry.path ?? entry.parentPath, entry.name)).mode & 0o777, entry.isDirectory() ? 0o700 : 0o600, entry.name);
    const evil = await client(["status", "--profile", "../../x"], { store });
    assert.ok(evil.code > 0 && !existsSync(join(store, "../../x")));
  } finally {
    process.umask(old);
  }
});
test("deny: exit 4 with the reason, and nothing kept", async () => {
  const done = await client(["login"], { person: presses(DENY) });
  assert.ok([1, 4].includes(done.code), `${done.code} ${done.stderr}`);
  assert.match(done.stderr, /denied|access_denied/i);
  assert.equal((await client(["status"], { store: done.store })).code, 3);
});
test("CBL-01 CBL-04 junk on the callback does not end a login", async () => {
  const done = await login({
    person: async (url) => {
      const callback = new URL(new URL(url).searchParams.get("redirect_uri"));
      for (const junk of ["?code=evil&state=wrong", "?code=evil", "?error=access_denied", "?state=", "?code=a&code=b&state=x", "?" + "x".repeat(5000)]) {
        const answer = await fetch(`${callback.href}${junk}`);
        assert.equal(answer.status, 400, junk.slice(0, 30));
        assert.doesNotMatch(await answer.text(), /evil/);
      }
      assert.equal((await fetch(new URL("/other", callback))).status, 404);
      assert.ok([404, 405].includes((await fetch(callback, { method: "POST", body: "x" })).status));
      await presses(ALLOW)(url);
    },
  });
  assert.equal(done.code, 0, done.stderr);
});
test("CBL-03 an answer of another issuer ends the login as a mix-up", async () => {
  for (const iss of ["https://evil.example", undefined]) {
    const done = await client(["login"], {
      person: async (url) => {
        const asked = new URL(url).searchParams;
        const back = new URL(asked.get("redirect_uri"));
        back.searchParams.set("code", "stolen");
        back.searchParams.set("state", asked.get("state"));
        if (iss) back.searchParams.set("iss", iss);
        assert.equal((await fetch(back)).status, 400);
      },
    });
    assert.ok(done.code > 0, done.stderr);
    assert.match(done.stderr, /does not come from|mix/i);
  }
});
test("DSC-10 DSC-11 what an authorization URL carries", async () => {
  const seen = [];
  for (let i = 0; i < 2; i += 1) {
    await client(["login", "--timeout", "1"], { person: async (url) => void seen.push(new URL(url).searchParams) });
  }
  for (const asked of seen) {
    assert.equal(asked.get("code_challenge_method"), "S256");
    assert.equal(asked.get("resource"), "urn:mcp:stdio:default");
    assert.ok(asked.get("state").length >= 22);
    assert.match(asked.get("redirect_uri"), /^http:\/\/(127\.0\.0\.1|\[::1\]|localhost):\d+\//);
  }
  for (const name of ["state", "code_challenge"]) assert.notEqual(seen[0].get(name), seen[1].get(name));
});
test("F-30 F-31 a person who never comes, a browser that cannot be started", async () => {
  const late = await client(["login", "--timeout", "1"], {});
  assert.ok(late.code > 0);
  assert.match(late.stderr, /second|time|again/i);
  const none = await client(["login", "--timeout", "1"], { env: { BROWSER: "/nonexistent/browser" } });
  assert.ok(none.code > 0);
  assert.match(none.stderr + none.stdout, /\/oauth\/authorize\?/, "the URL is printed");
});
test("the service is down: exit 5, with what to do", async () => {
  const done = await client(["login"], { env: { MCP_AUTHZ_ISSUER: "http://127.0.0.1:9" } });
  assert.equal(done.code, 5, done.stderr);
  assert.ok(done.stderr.length > 20);
});
for (const args of [["nope"], ["call"], ["call", "echo", "--args", "{"], ["call", "echo", "--args", "[]"], ["login", "--timeout", "x"]]) {
  test(`usage: ${args.join(" ")} is exit 2`, async () => assert.equal((await client(args)).code, 2));
}

/** An authorization server whose metadata are bent. */
async function liar(bend, extra) {
  const server = createServer((incoming, answer) => {
    const issuer = `http://127.0.0.1:${server.address().port}`;
    const honest = { issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token`, registration_endpoint: `${issuer}/register`, response_types_supported: ["code"], code_challenge_methods_supported: ["S256"], authorization_response_iss_parameter_supported: true };
    if (extra?.(incoming, answer, issuer)) return;
    if (incoming.url.startsWith("/.well-known/oauth-authorization-server")) {
      const said = bend({ ...honest });
      answer.setHeader("content-type", "application/json").end(typeof said === "string" ? said : JSON.stringify(said));
    } else if (incoming.url === "/register") answer.writeHead(201, { "content-type": "application/json" }).end(JSON.stringify({ client_id: "liar", redirect_uris: ["http://127.0.0.1/callback"] }));
    else answer.writeHead(404).end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  after(() => (server.closeAllConnections(), server.close()));
  return `http://127.0.0.1:${server.address().port}`;
}
for (const [what, bend] of Object.entries({
  "DSC-01 javascript:": (m) => ({ ...m, authorization_endpoint: "javascript:alert(1)" }), "DSC-01 file:": (m) => ({ ...m, authorization_endpoint: "file:///etc/passwd" }), "DSC-01 data:": (m) => ({ ...m, authorization_endpoint: "data:text/html,x" }), "DSC-01 http elsewhere": (m) => ({ ...m, authorization_endpoint: "http://evil.example/authorize" }),
  "DSC-01 a shell's words": (m) => ({ ...m, authorization_endpoint: "https://evil.example/$(touch /tmp/pwned)`id`" }), "DSC-01 an option": (m) => ({ ...m, authorization_endpoint: "--help" }), "DSC-03 another issuer": (m) => ({ ...m, issuer: "https://evil.example" }), "DSC-03 a slash more": (m) => ({ ...m, issuer: `${m.issuer}/` }),
  "DSC-05 no PKCE": ({ code_challenge_methods_supported: _, ...m }) => m, "DSC-05 plain only": (m) => ({ ...m, code_challenge_methods_supported: ["plain"] }), "no JSON": () => "<html>", "an array": () => "[]", "300 KiB": (m) => ({ ...m, x: "a".repeat(300 * 1024) }), "http token endpoint elsewhere": (m) => ({ ...m, token_endpoint: "http://evil.example/token" }),
})) {
  test(`${what}: refused before a browser is started`, async () => {
    let started = false;
    const done = await client(["login", "--timeout", "3"], { env: { MCP_AUTHZ_ISSUER: await liar(bend) }, person: async (url) => void (started = url) });
    assert.ok(done.code > 0, `${done.code} ${done.stdout}`);
    if (started) assert.doesNotMatch(started, /[`$(]|^-/, "at least percent-encoded");
    if (!/shell/.test(what)) assert.equal(started, false, started);
    assert.ok(!existsSync("/tmp/pwned"));
    assert.doesNotMatch(done.stderr, /panicked/);
  });
}
test("DSC-13 a server's control characters do not reach the terminal", async () => {
  const url = await liar((m) => m, (incoming, answer) => {
    if (incoming.url !== "/register") return false;
    answer.writeHead(400, { "content-type": "application/json" }).end(JSON.stringify({ error: "invalid_client_metadata", error_description: "\u001b[2J\u001b]0;owned\u0007\r\nfake line \u202e" }));
    return true;
  });
  const done = await client(["login", "--timeout", "3"], { env: { MCP_AUTHZ_ISSUER: url } });
  assert.equal(done.code, 4, done.stderr);
  assert.ok(!/[\u0000-\u0008\u000b-\u001f\u007f\u202e]/.test(done.stderr.replaceAll("\n", "")), JSON.stringify(done.stderr));
});
test("C15 nothing was written down", async () => {
  await s.assertWell();
});
