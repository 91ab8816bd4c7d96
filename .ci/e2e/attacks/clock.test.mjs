// What ends by itself, at its second and not before; and clocks that jump.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DAY, HOUR, MINUTE, clock, noClock } from "../lib/clock.mjs";
import { ALLOW, authorize, codeFor, jwt, logIn, login, person, pkce, redeem, refresh, refused, register, request } from "../lib/flow.mjs";
import { forger } from "../lib/forge.mjs";
import { Browser, forms, loginFields } from "../lib/page.mjs";
import { PASSWORD, service } from "../lib/service.mjs";
import { get } from "../lib/http.mjs";
import { done, stdioServer, toolRefused } from "../lib/stdio.mjs";
import { until } from "../lib/wait.mjs";

/** A service and a stdio server on one clock of their own, with a person and a client. */
async function world(offset = 0) {
  const time = clock(offset);
  const s = await service({ env: time.env });
  const host = stdioServer(s.data, { env: time.env });
  await host.initialize();
  const browser = await person(s);
  const client = await register(s);
  const end = () => Promise.all([s.end(), host.end()]);
  return { ...time, s, host, browser, client, end, echo: (token) => host.call("echo", { message: "m", access_token: token }) };
}
const timed = (name, body, offset) => test(name, { skip: noClock }, async () => {
  const w = await world(offset);
  try {
    await body(w);
    await w.s.assertWell();
    await w.host.assertWell();
  } finally {
    await w.end();
  }
});

timed("TOK-08 a code is good for at most ten minutes, and dead afterwards without taking anything with it", async (w) => {
  const good = await codeFor(w.s, w.browser, w.client);
  w.set(50);
  assert.equal((await redeem(w.s, w.client, good)).status, 200, "after 50 s");
  w.set(0);
  const late = await codeFor(w.s, w.browser, w.client);
  w.set(10 * MINUTE + 5);
  refused(await redeem(w.s, w.client, late), 400, "invalid_grant");
  w.set(0);
});
timed("JWT-04 an access token ends at its exp, at the stdio server too", async (w) => {
  const got = await login(w.s, w.browser, w.client);
  done(await w.echo(got.access_token));
  const { exp, iat } = jwt(got.access_token).claims;
  w.set(exp - iat - 30);
  done(await w.echo(got.access_token));
  w.set(exp - iat + 90);
  toolRefused(await w.echo(got.access_token), "invalid_token");
});
timed("JWT-08 a token that says it lives longer than its record dies with its record", async (w) => {
  const got = await login(w.s, w.browser, w.client);
  const { exp } = jwt(got.access_token).claims;
  const long = forger(w.s.data, got.access_token).forged({ exp: exp + 30 * DAY });
  w.set(2 * HOUR);
  toolRefused(await w.echo(long), "invalid_token");
});
timed("F-16 an expired token that was seen expired stays so when the clock goes back", async (w) => {
  const got = await login(w.s, w.browser, w.client);
  w.set(2 * HOUR);
  toolRefused(await w.echo(got.access_token), "invalid_token");
  w.set(0);
  toolRefused(await w.echo(got.access_token), "invalid_token");
});
timed("REF-03 F-15 the grace is 10 s at most: a repeat after a jump of a day is refused, and is no replay of a stranger", async (w) => {
  const first = await login(w.s, w.browser, w.client);
  assert.equal((await refresh(w.s, w.client, first.refresh_token)).status, 200);
  w.set(DAY);
  refused(await refresh(w.s, w.client, first.refresh_token), 400, "invalid_grant");
});
timed("F-15 the clock jumps a day forward: tokens expire, refresh tokens live on", async (w) => {
  const first = await login(w.s, w.browser, w.client);
  w.set(DAY);
  toolRefused(await w.echo(first.access_token), "invalid_token");
  const second = await refresh(w.s, w.client, first.refresh_token);
  assert.equal(second.status, 200, second.text);
  done(await w.echo(second.json.access_token));
});
timed("REF-07 a refresh token that lay idle, and a family at the end of its life", async (w) => {
  const idle = await login(w.s, w.browser, w.client);
  let busy = (await login(w.s, w.browser, w.client)).refresh_token;
  let [day, last] = [0, 0];
  for (; day <= 400; day += 20) {
    w.set(day * DAY);
    const answer = await refresh(w.s, w.client, busy);
    if (answer.status !== 200) break;
    busy = answer.json.refresh_token;
    last = day;
  }
  assert.ok(day < 400, "no family lives for ever");
  assert.ok(last >= 20, "one that is used lives longer than its idle time");
  refused(await refresh(w.s, w.client, idle.refresh_token), 400, "invalid_grant");
});
timed("UI-13 a consent page older than ten minutes gives no code", async (w) => {
  const page = await authorize(w.s, w.browser, request(w.client, pkce()));
  w.set(11 * MINUTE);
  const answer = await w.browser.submit(page, { press: ALLOW, follow: false });
  assert.ok(!/[?&]code=/.test(answer.location ?? ""), answer.location);
  assert.ok(answer.status >= 400 || answer.status === 303);
});
timed("UI-13 a login page older than ten minutes makes no session", async (w) => {
  const visitor = new Browser(w.s.url);
  const page = await authorize(w.s, visitor, request(w.client, pkce()));
  w.set(11 * MINUTE);
  const names = loginFields(page);
  await visitor.submit(page, { fill: { [names.user]: "ada", [names.password[0]]: PASSWORD }, follow: false });
  assert.ok(loginFields(await authorize(w.s, visitor, request(w.client, pkce()))), "still to log in");
});
timed("prompt=login asks a person who logged in some minutes ago again", async (w) => {
  w.set(5 * MINUTE);
  const page = await authorize(w.s, w.browser, request(w.client, pkce(), { prompt: "login" }));
  const consent = await logIn(w.browser, page, "ada");
  assert.ok(forms(consent.text).some((one) => one.buttons.some((b) => ALLOW.test(b.words))), "and goes on, without a loop");
});
timed("UI-07 a session ends", async (w) => {
  w.set(8 * DAY);
  assert.ok(loginFields(await authorize(w.s, w.browser, request(w.client, pkce()))), "a login page after eight days");
});
timed("F-16 the clock goes back a day: new logins work, nothing of tomorrow is trusted longer", async (w) => {
  const before = await login(w.s, w.browser, w.client);
  w.set(-DAY);
  const page = await authorize(w.s, w.browser, request(w.client, pkce()));
  assert.ok(page.status === 200 && (loginFields(page) || forms(page.text).length));
  const { claims } = jwt(before.access_token);
  assert.ok(claims.exp - claims.iat <= 3600);
  const answer = await refresh(w.s, w.client, before.refresh_token);
  assert.ok([200, 400].includes(answer.status), answer.text);
  if (answer.status === 200) {
    const next = jwt(answer.json.access_token).claims;
    assert.ok(next.exp - claims.iat <= 3600 + 60, "a new token lives an hour, not a day");
  }
});
for (const [what, offset] of [["1971", -(Date.now() / 1000 - 365 * DAY)], ["2090", 64 * 365 * DAY]]) {
  timed(`F-17 a start in ${what}: tokens still live an hour`, async (w) => {
    const got = await login(w.s, w.browser, w.client);
    const { claims } = jwt(got.access_token);
    assert.ok(claims.exp - claims.iat <= 3600 && claims.exp > claims.iat);
    done(await w.echo(got.access_token));
  }, Math.trunc(offset));
}

test("JWT-09 MET-08 a signing key that is old is followed by another by itself: published first, then it signs", { skip: noClock }, async () => {
  const time = clock();
  const s = await service({ env: time.env, args: ["--key-lifetime", "2h"] });
  try {
    const [browser, client] = [await person(s), await register(s)];
    const kids = async () => (await get(s.meta.jwks_uri)).json.keys.map((key) => key.kid);
    const signs = async () => jwt((await login(s, browser, client)).access_token).header.kid;
    const [first] = await kids();
    assert.deepEqual([await kids(), await signs()], [[first], first]);
    time.set(2 * HOUR + MINUTE);
    await until("another key is published", async () => (await kids()).length === 2);
    const second = (await kids()).find((kid) => kid !== first);
    assert.equal(await signs(), first, "nobody else knows the new one yet");
    time.set(3 * HOUR + 2 * MINUTE);
    await until("the new one signs", async () => (await signs()) === second);
    assert.ok((await kids()).includes(first), "what the old one signed is good until it ends");
    await s.assertWell();
  } finally {
    await s.end();
  }
});
