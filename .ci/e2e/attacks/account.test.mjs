// R20, ADM-02: what a person or an operator takes back closes tools in servers that are already running.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { logIn, login, person, register } from "../lib/flow.mjs";
import { Browser, forms, visible } from "../lib/page.mjs";
import { runToEnd } from "../lib/programs.mjs";
import { service } from "../lib/service.mjs";
import { done, stdioServer, toolRefused } from "../lib/stdio.mjs";

const s = await service({ users: ["ada", "bob"] });
const tools = stdioServer(s.data);
after(async () => (await tools.end(), await s.end()));

const call = (token) => tools.call("whoami", {}, { _meta: { "authz/access_token": token } });
const command = (...args) => {
  const run = runToEnd("authz-service", [...args, "--data", s.data]);
  assert.equal(run.code, 0, `${args}: ${run.stderr}`);
  return run.stdout;
};
/** Presses the button with these words in the form that holds `within`. */
async function press(browser, words, within = "") {
  const page = await browser.open(s.at("/account"));
  const found = forms(page.text).find((one) => one.html.includes(within) && one.buttons.some((button) => words.test(button.words)));
  assert.ok(found, `${words} in ${visible(page.text).slice(0, 400)}`);
  return browser.submit({ ...page, text: page.text.slice(page.text.indexOf(found.html) - 60) }, { press: words });
}

test("a login from the account page leads back to it", async () => {
  const browser = new Browser(s.url);
  const page = await logIn(browser, await browser.open(s.at("/account")), "ada");
  assert.equal(page.url.pathname, "/account");
  assert.match(visible(page.text), /Connected apps/);
});
test("R20 ADM-02 one app's access ends at the next call, and the other's goes on", async () => {
  const browser = await person(s);
  const [one, other] = [await register(s, { client_name: "One" }), await register(s, { client_name: "Other" })];
  const [first, second] = [await login(s, browser, one), await login(s, browser, other)];
  for (const { access_token } of [first, second]) done(await call(access_token));
  const page = await press(browser, /^Revoke$/, one.client_id);
  assert.match(visible(page.text), /Access was taken back/);
  toolRefused(await call(first.access_token), "invalid_token");
  done(await call(second.access_token));
  await press(browser, /^Revoke all$/);
  toolRefused(await call(second.access_token), "invalid_token");
});
const endings = {
  "grant revoke --user": () => command("grant", "revoke", "--user", "bob"),
  "user disable": () => command("user", "disable", "bob"),
  "user remove": () => command("user", "remove", "bob"),
};
for (const [name, end] of Object.entries(endings)) {
  test(`ADM-02 ${name} ends every token at the next call`, async () => {
    const { access_token } = await login(s, await person(s, "bob"), await register(s));
    done(await call(access_token));
    end();
    toolRefused(await call(access_token), "invalid_token");
    if (name === "user disable") command("user", "enable", "bob");
    toolRefused(await call(access_token), "invalid_token");
  });
}
test("ADM-04 the audit trail names who took what back, and is whole", async () => {
  const events = command("audit", "export").trim().split("\n").map((line) => JSON.parse(line));
  const taken = events.filter((event) => event.what === "grants-revoked" && event.user === "ada");
  assert.equal(taken.length, 2);
  assert.ok(events.some((event) => event.what === "user-removed" && event.user === "bob"));
  assert.match(command("audit", "verify"), /^The chain is whole/);
});
test("C15 nothing was written down", async () => (await tools.assertWell(), await s.assertWell()));
