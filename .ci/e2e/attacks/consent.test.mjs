// Consent that speaks tools: a stdio server announces what it has, a person unticks, and the server keeps to it.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { ALLOW, authorize, person, pkce, redeem, redirected, register, request } from "../lib/flow.mjs";
import { forms, visible } from "../lib/page.mjs";
import { runToEnd } from "../lib/programs.mjs";
import { service } from "../lib/service.mjs";
import { done, stdioServer, toolRefused } from "../lib/stdio.mjs";
import { until } from "../lib/wait.mjs";

const s = await service({ users: ["ada"] });
const tools = stdioServer(s.data, { args: ["--samples"] });
after(async () => (await tools.end(), await s.end()));

const meta = (token) => ({ _meta: { "authz/access_token": token } });
const events = () => runToEnd("authz-service", ["audit", "export", "--data", s.data]).stdout.trim().split("\n").map((line) => JSON.parse(line));
const announced = () => events().filter((event) => event.what === "tools-announced");
const listed = async (token) => (await tools.modern("tools/list", token ? meta(token) : {})).result.tools.map((tool) => tool.name);

/** Tokens for a consent in which `edit` changed the form's fields. */
async function consented(browser, edit) {
  const [client, proof] = [await register(s), pkce()];
  const page = await authorize(s, browser, request(client, proof));
  const found = redirected(await browser.submit(page, { press: ALLOW, edit, follow: false }));
  const answer = await redeem(s, client, { code: found.get("code"), verifier: proof.verifier, redirect_uri: client.redirect_uris[0] });
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

test("N11 a server announces its tools once, and the consent page shows them", async () => {
  await until("the announcement", () => announced().length > 0);
  const browser = await person(s);
  const page = await authorize(s, browser, request(await register(s), pkce()));
  const names = forms(page.text)[0].inputs.map((input) => input.name);
  for (const name of ["whoami", "echo", "get_weather", "list_files"]) assert.ok(names.includes(`tool:${name}`), `${name} in ${names}`);
  assert.ok(!names.includes("tool:public_info"), "an open tool needs no consent");
  assert.match(visible(page.text), /only reads/);
  const again = stdioServer(s.data, { args: ["--samples"] });
  const plain = stdioServer(s.data);
  for (const one of [again, plain]) done(await one.call("public_info"));
  await Promise.all([again.end(), plain.end()]);
  assert.equal(announced().length, 1, "what is known is not told again, nor by a server with fewer tools");
});
test("N11 an unticked tool is refused and not listed; the others work", async () => {
  const { access_token } = await consented(await person(s), (fields) => fields.filter(([name]) => name !== "tool:whoami"));
  done(await tools.call("echo", { message: "hello" }, meta(access_token)));
  const refused = toolRefused(await tools.call("whoami", {}, meta(access_token)), "insufficient_scope");
  assert.match(JSON.stringify(refused), /left this tool out/);
  const names = await listed(access_token);
  assert.ok(!names.includes("whoami") && names.includes("echo") && names.includes("public_info"), `${names}`);
  assert.ok((await listed()).includes("whoami"), "who has no token sees everything");
});
test("N11 an unticked scope closes its tools", async () => {
  const { access_token, scope } = await consented(await person(s), (fields) => fields.filter(([name]) => name !== "scope:mcp:tools:execute"));
  assert.equal(scope, "mcp:tools:read");
  done(await tools.call("whoami", {}, meta(access_token)));
});
test("N11 for this session: signing out closes the tools of a running server", async () => {
  const browser = await person(s);
  const edit = (fields) => fields.map(([name, value]) => (name === "lasting" ? [name, "session"] : [name, value])).filter(([name], at, all) => name !== "lasting" || all.findIndex(([one]) => one === name) === at);
  const { access_token } = await consented(browser, edit);
  done(await tools.call("whoami", {}, meta(access_token)));
  await browser.submit(await browser.open(s.at("/account")), { press: /^Sign out$/ });
  toolRefused(await tools.call("whoami", {}, meta(access_token)), "invalid_token");
});
test("a server that was told not to announce says nothing", async () => {
  const quiet = stdioServer(s.data, { args: ["--announce", "off", "--name", "quiet"] });
  done(await quiet.call("public_info"));
  await quiet.end();
  assert.ok(!announced().some((event) => event.detail.includes("quiet")));
});
test("C15 nothing was written down", async () => (await tools.assertWell(), await s.assertWell()));
