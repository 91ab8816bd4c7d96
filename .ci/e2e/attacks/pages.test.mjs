// UI: login, consent, error pages, as a hostile page or program would use them.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ALLOW, CALLBACK, DENY, RESOURCE, SCOPES, authorize, logIn, person, pkce, redirected, register, request } from "../lib/flow.mjs";
import { ask, form, get, postJson, withQuery } from "../lib/http.mjs";
import { Browser, filled, forms, loginFields, visible } from "../lib/page.mjs";
import { freePort, runToEnd, tempFolder } from "../lib/programs.mjs";
import { PASSWORD, service } from "../lib/service.mjs";
import { until } from "../lib/wait.mjs";

const s = await service({ users: ["ada", "bob"] });
after(() => s.end());
const client = await register(s, { client_name: "Notes" });
const usual = (more) => request(client, pkce(), more);
const open = (browser, more) => authorize(s, browser, usual(more));

/** No code came out of this answer. */
const noCode = (answer) => assert.ok(!/[?&]code=/.test(answer.location ?? ""), answer.location);

/** The page that a stranger sees first. */
async function loginPage(browser = new Browser(s.url)) {
  const page = await open(browser);
  assert.ok(loginFields(page), `a login page: ${visible(page.text).slice(0, 200)}`);
  return { browser, page, names: loginFields(page) };
}

/** A form with one field of its own kind changed: what a person cannot see. */
const hidden = (page) => forms(page.text).filter((one) => one.method === "post").flatMap((one) => one.inputs).filter((input) => input.type === "hidden").map((input) => input.name);

test("UI-01 nobody logged in: a login page, and no code", async () => {
  const { page } = await loginPage();
  assert.equal(page.status, 200);
  noCode(page);
});
test("UI-01 a logged-in person is still asked", async () => {
  const page = await open(await person(s));
  assert.equal(page.status, 200);
  noCode(page);
});
for (const listen of ["0.0.0.0:PORT", "[::]:PORT"]) {
  test(`UI-02 CFG-02 auto-approve off loopback (${listen}) is refused at the start`, async () => {
    const port = await freePort();
    const done = runToEnd("authz-service", ["serve", "--listen", listen.replace("PORT", port), "--data", `${tempFolder()}/d`, "--auto-approve"], { timeout: 5_000 });
    assert.ok(done.code > 0, `it ended by itself with an error: ${done.code} ${done.stderr}`);
    assert.match(done.stderr, /auto-approve|loopback|this machine/i);
  });
}
test("UI-02 C9 switching the limits off is refused off loopback", async () => {
  const done = runToEnd("authz-service", ["serve", "--listen", `0.0.0.0:${await freePort()}`, "--data", `${tempFolder()}/d`, "--rate-limits", "off"], { timeout: 5_000 });
  assert.ok(done.code > 0, `${done.code} ${done.stderr}`);
});
test("UI-02 auto-approve says so at the start and in /health", async () => {
  const dev = await service({ args: ["--auto-approve"], users: [] });
  try {
    assert.match(dev.logs(), /auto-approve/i);
    assert.match((await get(dev.at("/health"))).text, /auto.approve/i);
    const app = await register(dev);
    const proof = pkce();
    const answer = await ask(withQuery(dev.at("/oauth/authorize"), request(app, proof)));
    const found = redirected(answer);
    assert.deepEqual([...found.keys()].sort(), ["code", "iss", "state"]);
  } finally {
    await dev.end();
  }
});
test("UI-02 without the flag a query cannot switch it on", async () => {
  const page = await open(new Browser(s.url), { auto_approve: "true", "auto-approve": "ada", user: "ada", approve: "1", decision: "allow" });
  noCode(page);
  assert.ok(loginFields(page));
});

test("UI-03 a login without the anti-CSRF value, or with another browser's", async () => {
  const mine = await loginPage();
  const other = await loginPage();
  const fill = { [mine.names.user]: "ada", [mine.names.password[0]]: PASSWORD };
  assert.ok(hidden(mine.page).length, "the form carries a hidden value");
  for (const name of hidden(mine.page)) {
    const theirs = forms(other.page.text)[0].inputs.find((input) => input.name === name)?.value;
    for (const edit of [(f) => f.filter(([n]) => n !== name), (f) => f.map(([n, v]) => [n, n === name ? "" : v]), (f) => f.map(([n, v]) => [n, n === name ? `${v}x` : v]), ...(theirs ? [(f) => f.map(([n, v]) => [n, n === name ? theirs : v])] : [])]) {
      const fresh = await loginPage();
      const before = new Map(fresh.browser.cookies);
      const answer = await fresh.browser.submit(fresh.page, { fill, edit, follow: false });
      assert.ok([400, 403].includes(answer.status), `${name}: ${answer.status} ${answer.location}`);
      noCode(answer);
      const page = await open(fresh.browser);
      assert.ok(loginFields(page), `${name}: no session was made; cookies ${[...before.keys()]}`);
    }
  }
});
test("UI-03 a login without its cookie, as a cross-site form would post it", async () => {
  const { browser, page, names } = await loginPage();
  browser.cookies.clear();
  const answer = await browser.submit(page, { fill: { [names.user]: "ada", [names.password[0]]: PASSWORD }, follow: false });
  assert.equal(answer.status, 403, `${answer.status} ${answer.location}`);
  assert.equal(answer.headers["set-cookie"], undefined);
});
test("UI-03 a login or consent posted from another origin", async () => {
  const { browser, page, names } = await loginPage();
  for (const headers of [{ origin: "https://evil.example", "sec-fetch-site": "cross-site" }, { origin: "null", "sec-fetch-site": "cross-site" }]) {
    const answer = await browser.submit(page, { fill: { [names.user]: "ada", [names.password[0]]: PASSWORD }, headers, follow: false });
    assert.equal(answer.status, 403, JSON.stringify(headers));
  }
});
test("UI-04 a consent without the anti-CSRF value, or with another transaction's", async () => {
  const ada = await person(s);
  const bob = await person(s, "bob");
  const foreign = await open(bob);
  const first = await open(ada);
  assert.ok(hidden(first).length, "the form carries a hidden value");
  for (const name of hidden(first)) {
    const theirs = filled(forms(foreign.text).find((one) => one.method === "post")).find(([n]) => n === name)?.[1];
    for (const [what, edit] of Object.entries({
      missing: (f) => f.filter(([n]) => n !== name), empty: (f) => f.map(([n, v]) => [n, n === name ? "" : v]), changed: (f) => f.map(([n, v]) => [n, n === name ? v.replace(/.$/, (c) => (c === "A" ? "B" : "A")) : v]), "bob's": (f) => f.map(([n, v]) => [n, n === name ? theirs : v]),
      twice: (f) => [...f, [name, theirs]],
    })) {
      const page = await open(ada);
      const answer = await ada.submit(page, { press: ALLOW, edit, follow: false });
      assert.ok([400, 403].includes(answer.status), `${name} ${what}: ${answer.status} ${answer.location}`);
      noCode(answer);
    }
  }
});
test("UI-04 bob cannot answer ada's consent page", async () => {
  const [ada, bob] = [await person(s), await person(s, "bob")];
  const page = await open(ada);
  const answer = await bob.submit(page, { press: ALLOW, follow: false });
  assert.ok([400, 403].includes(answer.status), `${answer.status} ${answer.location}`);
  noCode(answer);
});
test("UI-04 the values that a consent page carries cannot be bent", async () => {
  const ada = await person(s);
  const page = await open(ada, { scope: "mcp:tools:read" });
  const extra = [["scope", "mcp:tools:execute"], ["scopes", "mcp:tools:execute"], ["redirect_uri", "https://evil.example/"], ["client_id", "c_x"], ["resource", "urn:mcp:stdio:other"], ["user", "bob"]];
  const answer = await ada.submit(page, { press: ALLOW, edit: (f) => [...f, ...extra], follow: false });
  if (answer.location) {
    assert.ok(answer.location.startsWith(CALLBACK));
    return;
  }
  assert.ok([400, 403].includes(answer.status));
});
test("UI-04 a consent is answered once", async () => {
  const ada = await person(s);
  const page = await open(ada);
  assert.ok(redirected(await ada.submit(page, { press: ALLOW, follow: false })).get("code"));
  const again = await ada.submit(page, { press: ALLOW, follow: false });
  noCode(again);
  assert.ok([400, 403, 409, 410].includes(again.status), `${again.status}`);
});
test("UI-04 an answer that is neither yes nor no is no yes", async () => {
  const ada = await person(s);
  for (const word of [undefined, "maybe", "", "ALLOW", "allow,deny"]) {
    const page = await open(ada);
    const carried = hidden(page);
    const edit = (fields) => fields.filter(([name]) => carried.includes(name) || word !== undefined).map(([name, value]) => [name, carried.includes(name) ? value : word]);
    noCode(await ada.submit(page, { press: ALLOW, edit, follow: false }));
  }
});

test("UI-07 the session cookie", async () => {
  const { browser, page } = await loginPage();
  const early = new Map(browser.cookies);
  await logIn(browser, page, "ada");
  const fresh = [...browser.cookies].filter(([name, { value }]) => early.get(name)?.value !== value);
  assert.ok(fresh.length, "a new value after the login");
  for (const [name, { value, line }] of browser.cookies) {
    assert.match(line, /;\s*httponly/i, name);
    assert.match(line, /;\s*samesite=(lax|strict)/i, name);
    assert.match(line, /;\s*path=\//i, name);
    assert.doesNotMatch(line, /;\s*domain=/i, name);
    assert.ok(value.length >= 22, `${name}: at least 128 bits`);
  }
});
test("UI-07 with an https issuer every cookie is Secure and carries the __Host- prefix", async () => {
  const safe = await service({ args: ["--issuer", "https://auth.example"], users: [], limits: true });
  try {
    const headers = { host: "auth.example" };
    const app = (await postJson(safe.at("/register"), { redirect_uris: [CALLBACK], token_endpoint_auth_method: "none" }, { headers })).json;
    const answer = await ask(withQuery(safe.at("/oauth/authorize"), request(app, pkce())), { headers });
    const lines = answer.headers["set-cookie"] ?? [];
    assert.ok(lines.length, `a cookie on the login page: ${answer.status}`);
    for (const line of lines) {
      assert.match(line, /^__Host-/);
      assert.match(line, /;\s*secure/i);
    }
    for (const target of [...answer.text.matchAll(/action="([^"]*)"/g)]) assert.ok(!target[1].startsWith("http://"), target[1]);
  } finally {
    await safe.end();
  }
});
test("UI-02 an https issuer is no development: no auto-approve", async () => {
  const done = runToEnd("authz-service", ["serve", "--port", String(await freePort()), "--data", `${tempFolder()}/d`, "--issuer", "https://auth.example", "--auto-approve"], { timeout: 5_000 });
  assert.ok(done.code > 0, `${done.code} ${done.stderr}`);
});
test("UI-07 a planted session value is not adopted at login", async () => {
  const real = await person(s);
  const planted = "A".repeat(43);
  const { browser, page } = await loginPage();
  for (const name of real.cookies.keys()) if (!browser.cookies.has(name)) browser.cookies.set(name, { value: planted, line: "" });
  await logIn(browser, page, "ada");
  for (const { value } of browser.cookies.values()) assert.notEqual(value, planted);
});
test("UI-08 wrong password, unknown user, empty fields: same status, same words", async () => {
  const answers = [];
  for (const [user, password] of [["ada", "wrong password 1"], ["nobody", "wrong password 1"], ["nobody", PASSWORD], ["ADA", PASSWORD], ["ada\u0000", PASSWORD], ["ada", PASSWORD.toUpperCase()], ["ada", `${PASSWORD} `], ["<b>x</b>", "wrong password 2"]]) {
    const { browser, page, names } = await loginPage();
    const started = process.hrtime.bigint();
    const answer = await browser.submit(page, { fill: { [names.user]: user, [names.password[0]]: password } });
    answers.push({ user, status: answer.status, words: visible(answer.text).replaceAll(user, ""), ms: Number(process.hrtime.bigint() - started) / 1e6 });
    noCode(answer);
    assert.ok(loginFields(answer), `${user}: the login page again`);
    assert.ok(!answer.text.includes(password), "the password is not shown again");
    assert.ok(!answer.text.includes("<b>x</b>"));
  }
  for (const one of answers) {
    assert.equal(one.status, answers[0].status, one.user);
    assert.equal(one.words, answers[0].words, one.user);
  }
});
test("UI-08 unknown users cost the same time as known ones", async () => {
  const time = async (user) => {
    const all = [];
    for (let i = 0; i < 7; i += 1) {
      const { browser, page, names } = await loginPage();
      const started = process.hrtime.bigint();
      await browser.submit(page, { fill: { [names.user]: user, [names.password[0]]: "wrong password 1" }, follow: false });
      all.push(Number(process.hrtime.bigint() - started) / 1e6);
    }
    return all.sort((a, b) => a - b)[3];
  };
  const [known, unknown, impossible] = [await time("ada"), await time("nobody"), await time("not a name!")];
  for (const other of [unknown, impossible]) assert.ok(Math.max(known, other) / Math.min(known, other) < 3, `median ms: known ${known}, unknown ${unknown}, impossible ${impossible}`);
});
test("UI-08 a very long password or name is refused without work", async () => {
  for (const [user, password] of [["ada", "x".repeat(50_000)], ["x".repeat(50_000), "p"]]) {
    const { browser, page, names } = await loginPage();
    const answer = await browser.submit(page, { fill: { [names.user]: user, [names.password[0]]: password } });
    assert.ok(answer.status < 500);
    noCode(answer);
  }
});
test("UI-09 credentials in a query are not read", async () => {
  const { browser, names, page } = await loginPage();
  const target = new URL(forms(page.text)[0].action || page.url, page.url);
  const answer = await browser.open(`${target.pathname}?${form({ ...Object.fromEntries(filled(forms(page.text)[0])), [names.user]: "ada", [names.password[0]]: PASSWORD })}`);
  assert.ok([200, 400, 404, 405].includes(answer.status), `${answer.status}`);
  assert.ok(loginFields(await open(browser)), "still not logged in");
});
test("UI-10 denied: access_denied, state, iss, no code; and asked again the next time", async () => {
  const ada = await person(s);
  const answer = await ada.submit(await open(ada), { press: DENY, follow: false });
  const found = redirected(answer);
  assert.equal(found.get("error"), "access_denied");
  assert.equal(found.get("state"), "s-123");
  assert.equal(found.get("iss"), s.issuer);
  assert.equal(found.get("code"), null);
  const again = await open(ada);
  assert.equal(again.status, 200);
  assert.ok(forms(again.text).some((one) => one.buttons.some((b) => ALLOW.test(b.words))), "the consent page again");
});
test("UI-11 what the consent page says", async () => {
  const ada = await person(s);
  const app = await register(s, { client_name: "Notes <b>&</b>", redirect_uris: ["https://app.example:8443/cb"] });
  const page = await authorize(s, ada, request(app, pkce(), { scope: `${SCOPES} mcp:resources offline_access` }));
  const text = visible(page.text);
  assert.ok(text.includes("Notes <b>&</b>"), "the name, escaped");
  assert.match(text, /self-declared|calls itself|says it is|not verified|unverified|not been verified|nobody (has )?(checked|verified)/i, "marked as self-declared");
  assert.ok(text.includes("app.example"), "the redirect's host");
  assert.ok(text.includes(RESOURCE) || /\bdefault\b/.test(text), "the resource");
  assert.match(text, /while you are away|offline|until you revoke/i, "offline access is not hidden");
  assert.match(text, /look things up|read/i);
  assert.match(text, /run the server|change/i);
  assert.ok(text.includes("ada"), "who is logged in");
});
test("UI-11 no scope asked: the page says which ones will be given", async () => {
  const ada = await person(s);
  const page = await open(ada, { scope: undefined });
  assert.match(visible(page.text), /read|run|tools/i);
});
test("UI-14 logout ends the session on the server's side", async () => {
  const ada = await person(s);
  const page = await open(ada);
  const before = new Map(ada.cookies);
  const way = forms(page.text).find((one) => /log ?out|sign ?out/i.test(one.html + one.action));
  assert.ok(way, "a way to log out on the consent page");
  const button = way.buttons.find((b) => /log ?out|sign ?out|not you|switch/i.test(b.words)) ?? way.buttons[0];
  await ada.submit(page, { press: new RegExp(button.words.replace(/[^\w ]/g, ".")), follow: true });
  ada.cookies = before;
  assert.ok(loginFields(await open(ada)), "the old cookie opens nothing");
  const answer = await ada.submit(page, { press: ALLOW, follow: false });
  noCode(answer);
});
test("UI-15 two consent pages are two transactions", async () => {
  const ada = await person(s);
  const [one, two] = [await open(ada, { state: "one", scope: "mcp:tools:read" }), await open(ada, { state: "two", scope: SCOPES })];
  const first = redirected(await ada.submit(one, { press: ALLOW, follow: false }));
  assert.equal(first.get("state"), "one");
  const second = redirected(await ada.submit(two, { press: DENY, follow: false }));
  assert.equal(second.get("state"), "two");
  assert.equal(second.get("error"), "access_denied");
});
test("UI-18 C1 error pages are escaped, in plain words, and without internals", async () => {
  for (const id of ["<script>alert(1)</script>", "'\"><img src=x>", "{{77777*77777}}", "${77777*77777}", "%s%s%n"]) {
    const page = await get(withQuery(s.at("/oauth/authorize"), { client_id: id, redirect_uri: id, response_type: "code" }));
    assert.equal(page.status, 400);
    assert.doesNotMatch(page.text, /<script>alert|<img|6049261729/);
    assert.ok(visible(page.text).length > 30, "it says something");
  }
});
test("UI a first start prints a set-up link that makes one owner, once", async () => {
  const fresh = await service({ users: [] });
  try {
    const link = await until("the set-up link", () => fresh.logs().match(/https?:\/\/\S*setup\S*/i)?.[0]);
    const browser = new Browser(fresh.url);
    const wrong = await browser.open(link.replace(/.$/, (c) => (c === "A" ? "B" : "A")));
    assert.ok([400, 403, 404, 410].includes(wrong.status), `${wrong.status}`);
    const page = await browser.open(link);
    assert.equal(page.status, 200, visible(page.text));
    const names = loginFields(page);
    const fill = { [names.user]: "owner", ...Object.fromEntries(names.password.map((name) => [name, PASSWORD])) };
    for (const bad of [{ [names.user]: "a b" }, { [names.user]: "" }, { [names.user]: "<script>" }, Object.fromEntries(names.password.map((name) => [name, "short"])), ...(names.password[1] ? [{ [names.password[1]]: `${PASSWORD}x` }] : [])]) {
      const who = new Browser(fresh.url);
      const again = await who.submit(await who.open(link), { fill: { ...fill, ...bad } });
      assert.ok(loginFields(again) || again.status >= 400, `no owner is made of ${JSON.stringify(bad)}`);
    }
    const made = await browser.submit(page, { fill });
    assert.ok(made.status < 400, `${made.status} ${visible(made.text)}`);
    const spent = await new Browser(fresh.url).open(link);
    assert.ok([400, 403, 404, 409, 410].includes(spent.status), `the link is spent: ${spent.status}`);
    const app = await register(fresh);
    const visitor = new Browser(fresh.url);
    const login = await visitor.open(withQuery(fresh.at("/oauth/authorize"), request(app, pkce())));
    const consent = await logIn(visitor, login, "owner");
    assert.ok(forms(consent.text).some((one) => one.buttons.some((b) => ALLOW.test(b.words))), visible(consent.text).slice(0, 200));
  } finally {
    await fresh.end();
  }
});
test("UI without a set-up link, or on a store with people, nobody makes an owner", async () => {
  for (const path of ["/setup", "/setup/", "/setup?token=", "/setup/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "/setup?token=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]) {
    const answer = await ask(s.at(path));
    assert.ok(answer.status >= 400 && answer.status < 500, `${path}: ${answer.status}`);
  }
});
test("UI a return address elsewhere is not followed after login", async () => {
  const { browser, page, names } = await loginPage();
  const evil = [["next", "https://evil.example/"], ["return_to", "//evil.example/"], ["redirect", "https://evil.example/"]];
  const answer = await browser.submit(page, { fill: { [names.user]: "ada", [names.password[0]]: PASSWORD }, edit: (f) => [...f, ...evil], follow: false });
  assert.ok(!/evil\.example/.test(answer.location ?? ""), answer.location);
});
test("C15 after all of this it lives, and wrote down no secret", () => s.assertWell());
