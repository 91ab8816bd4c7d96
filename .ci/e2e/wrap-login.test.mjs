// Resources and prompts of a wrapped server: a host without a token has its person asked for a login, as for a tool, and the
// trail of calls says who read and got what.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, test } from "node:test";
import { ALLOW, login, person, register } from "./lib/flow.mjs";
import { cleanEnv, program, tempFolder } from "./lib/programs.mjs";
import { service } from "./lib/service.mjs";
import { until } from "./lib/wait.mjs";
import { host, wrap } from "./lib/wrapped.mjs";

const s = await service();
after(() => s.end());
const browser = await person(s);
const fixture = [process.execPath, join(dirname(fileURLToPath(import.meta.url)), "lib/fixture-server.mjs")];

/** What is asked for, the kind of thing that it is, and what comes when it may be. */
const READ = { method: "resources/read", params: { uri: "x://1" }, kind: "resource", name: "x://1", gives: (result) => assert.equal(result.contents[0].text, "one") };
const GET = { method: "prompts/get", params: { name: "p", arguments: { topic: "swordfish" } }, kind: "prompt", name: "p", gives: (result) => assert.deepEqual(result.messages, []) };

/** The person opens the page that they are shown, and says yes. */
async function approve(url) {
  let page = await browser.open(url);
  for (const press of [/continue/i, ALLOW]) page = await browser.submit(page, { press });
  assert.equal(page.status, 200, page.text.slice(0, 500));
}

/** The lines of the trail about one server. */
const trail = (name) =>
  execFileSync(program("authz-service"), ["audit", "export", "--calls", "--data", s.data], { env: cleanEnv(), encoding: "utf8" })
    .split("\n").filter(Boolean).map((line) => JSON.parse(line)).filter((line) => line.server === `urn:mcp:stdio:${name}`);

/** A retry of a 2026-07-28 request. */
const capable = { "io.modelcontextprotocol/clientCapabilities": { elicitation: { url: {} } } };

for (const wanted of [READ, GET]) {
  test(`R27: ${wanted.method} of a host of the initialize era waits while its person signs in`, async () => {
    let shown;
    const name = `old-${wanted.kind}`;
    const one = host(wrap(s.data, fixture, "--name", name, "--login", "elicit"), { answers: { "elicitation/create": (params) => ((shown = params), { action: "accept" }) } });
    await one.initialize({ elicitation: { url: {} } });
    const id = one.send(wanted.method, wanted.params);
    await until("the dialog", () => shown);
    assert.equal(shown.mode, "url");
    const told = () => one.messages().map((message) => /^notifications\/(\w+)\/list_changed$/.exec(message.method)?.[1]).filter(Boolean);
    await approve(shown.url);
    wanted.gives((await one.answer(id)).result);
    // The server has news of its tools and resources, and none of its prompts.
    await until("the news", () => told().length >= 2);
    assert.deepEqual(told().sort(), ["resources", "tools"]);
    wanted.gives((await one.ask(wanted.method, wanted.params)).result);
    assert.equal(await one.end(), 0);
    const lines = trail(name);
    assert.deepEqual(lines.map((line) => [line.kind, line.tool, line.decision, line.user, line.outcome, line.method]), Array(2).fill([wanted.kind, wanted.name, "admitted", "ada", "ok", undefined]));
    assert.equal(lines[0].arguments, lines[1].arguments);
    assert.ok(!JSON.stringify(lines).includes("swordfish"));
  });

  test(`R27 ARG-14: ${wanted.method} of a 2026-07-28 host is answered with the question, and its state is for it alone`, async () => {
    const name = `new-${wanted.kind}`;
    const one = host(wrap(s.data, fixture, "--name", name, "--login", "elicit"));
    const question = await one.modern(wanted.method, { ...wanted.params, _meta: capable });
    assert.equal(question.result?.resultType, "input_required", JSON.stringify(question));
    assert.ok(!("ttlMs" in question.result), "a question is not kept");
    const [[key, { params }]] = Object.entries(question.result.inputRequests);
    await approve(params.url);
    const back = { _meta: capable, requestState: question.result.requestState, inputResponses: { [key]: { action: "accept" } } };
    const others = [[wanted.method, { ...wanted.params, uri: "x://2", name: "q" }], ["tools/call", { name: wanted.name, arguments: wanted.params.arguments }]];
    for (const [method, others_params] of others) assert.equal((await one.modern(method, { ...others_params, ...back })).error?.code, -32602, method);
    wanted.gives((await one.modern(wanted.method, { ...wanted.params, ...back })).result);
    assert.equal(await one.end(), 0);
    const seen = trail(name).map((line) => [line.kind ?? "tool", line.decision, line.cause]);
    assert.deepEqual(seen, [[wanted.kind, "refused", "login-asked-for"], [wanted.kind, "refused", "request-state-not-ours"], ["tool", "refused", "request-state-not-ours"], [wanted.kind, "admitted", undefined]]);
  });
}

test("R27: the error of a host that shows pages carries the page, and that of any other has the link in its words", async () => {
  for (const [name, capabilities, code] of [["shows", { elicitation: { url: {} } }, -32042], ["blind", {}, 401]]) {
    const one = host(wrap(s.data, fixture, "--name", name, "--login", "elicit", "--login-wait", "0"));
    await one.initialize(capabilities);
    for (const [method, params] of [[READ.method, READ.params], [GET.method, GET.params], ["resources/subscribe", { uri: "x://1" }], ["completion/complete", { ref: { type: "ref/prompt", name: "p" }, argument: { name: "topic", value: "a" } }]]) {
      const { error } = await one.ask(method, params);
      assert.equal(error.code, code, JSON.stringify(error));
      assert.match(error.message, /Ask them to open http:\S+\/device\?user_code=/);
      assert.equal(error.data.error, "unauthorized");
      const link = error.data.verification_uri_complete;
      assert.match(link, /user_code=[A-Z]{4}-[A-Z]{4}$/);
      const [page] = error.data.elicitations ?? [];
      assert.deepEqual(page && [page.mode, page.url, typeof page.elicitationId], code === -32042 ? ["url", link, "string"] : undefined);
    }
    // Nobody is asked because of what only a program wants to know: a task, and what no guard knows.
    const { data } = (await one.ask("tasks/list", {})).error;
    assert.deepEqual([data.error, data.verification_uri], ["unauthorized", undefined]);
    const link = (await one.ask(READ.method, READ.params)).error.data.verification_uri_complete;
    await approve(link);
    READ.gives((await one.ask(READ.method, READ.params)).result);
    assert.deepEqual((await one.ask("resources/subscribe", { uri: "x://1?token=hunter2" })).result, {});
    assert.equal(await one.end(), 0);
    const lines = trail(name);
    assert.equal(lines.filter((line) => line.decision === "refused" && line.cause === "no-token").length, 6);
    assert.deepEqual([...new Set(lines.map((line) => line.method))], [undefined, "resources/subscribe", "completion/complete", "tasks/list"]);
    assert.deepEqual([lines.at(-1).tool, lines.at(-1).outcome], ["x://1", "ok"]);
    assert.ok(!JSON.stringify(lines).includes("hunter2"));
  }
});

test("STD-19: a 2026-07-28 host whose request cannot come back gets the link in an error of its era", async () => {
  const one = host(wrap(s.data, fixture, "--name", "complete", "--login", "elicit"));
  const complete = { ref: { type: "ref/prompt", name: "p" }, argument: { name: "topic", value: "a" }, _meta: capable };
  const { error } = await one.modern("completion/complete", complete);
  assert.equal(error.code, 401);
  assert.match(error.data.verification_uri_complete, /user_code=/);
  assert.equal(await one.end(), 0);
});

test("what a grant leaves out is said in the words of its kind", async () => {
  const one = host(wrap(s.data, fixture, "--name", "narrow", "--login", "link"));
  await one.initialize();
  const { error } = await one.ask(READ.method, READ.params);
  let page = await browser.open(error.data.verification_uri_complete);
  page = await browser.submit(page, { press: /continue/i });
  const answer = await browser.submit(page, { press: ALLOW, edit: (fields) => fields.filter(([field]) => field !== "scope:mcp:resources") });
  assert.equal(answer.status, 200);
  const refused = await one.ask(READ.method, READ.params);
  assert.equal(refused.error.code, 403, JSON.stringify(refused));
  assert.match(refused.error.message, /did not allow this resource/);
  assert.equal(await one.end(), 0);
});

test("UI-11: scopes of a server's own have boxes, for the person who is asked and for apps, and close what was left out", async () => {
  const rules = join(tempFolder("own"), "rules.toml");
  writeFileSync(rules, `version = 1\n[[tool]]\nname = "look"\nscopes = "files:read"\n[[tool]]\nname = "change"\nscopes = "files:write"\n[[resource]]\nuri = "*"\nscopes = "docs:read"\n`);
  const one = host(wrap(s.data, fixture, "--name", "own", "--login", "link", "--rules", rules));
  await one.initialize();
  const call = (name) => one.ask("tools/call", { name, arguments: {} });
  const asked = (await call("look")).result.structuredContent;
  assert.equal(asked.scope, "files:read");
  await until("the announcement", async () => (await (await fetch(s.at("/.well-known/oauth-authorization-server"))).json()).scopes_supported.includes("docs:read"), 10_000);
  let page = await browser.open(asked.verification_uri_complete);
  page = await browser.submit(page, { press: /continue/i });
  for (const field of ["scope:files:read", "scope:files:write", "scope:docs:read", "tool:look", "tool:change"]) assert.ok(page.text.includes(`name="${field}"`), `${field} in ${page.text}`);
  await browser.submit(page, { press: ALLOW, edit: (fields) => fields.filter(([field]) => field !== "scope:files:write") });
  assert.equal((await call("look")).result.content[0].text, "looked");
  assert.equal((await call("change")).result.structuredContent.error, "insufficient_scope");
  READ.gives((await one.ask(READ.method, READ.params)).result);
  assert.equal(await one.end(), 0);

  const resource = "urn:mcp:stdio:own";
  const app = await register(s);
  const granted = await login(s, browser, app, { scope: "files:write docs:read mcp:admin", resource });
  assert.equal(granted.scope, "docs:read files:write");
  const other = host(wrap(s.data, fixture, "--name", "own", "--rules", rules), { env: { MCP_ACCESS_TOKEN: granted.access_token } });
  await other.initialize();
  assert.equal((await other.ask("tools/call", { name: "change", arguments: {} })).result.content[0].text, "changed");
  assert.equal((await other.ask("tools/call", { name: "look", arguments: {} })).result.structuredContent.error, "insufficient_scope");
  READ.gives((await other.ask(READ.method, READ.params)).result);
  assert.equal(await other.end(), 0);
});

for (const wanted of [READ, GET]) {
  test(`R27: a host that shows words only gets the link in a form without fields, for ${wanted.method}, in either era`, async () => {
    let shown;
    const old = host(wrap(s.data, fixture, "--name", `form-${wanted.kind}`, "--login", "elicit"), { answers: { "elicitation/create": (params) => ((shown = params), { action: "accept", content: {} }) } });
    await old.initialize({ elicitation: {} });
    const id = old.send(wanted.method, wanted.params);
    await until("the form", () => shown);
    assert.deepEqual([shown.mode, shown.requestedSchema], ["form", { type: "object", properties: {} }]);
    await approve(/http:\S+\/device\?user_code=[A-Z-]+/.exec(shown.message)[0]);
    wanted.gives((await old.answer(id)).result);
    assert.ok(!old.messages().some((message) => message.method === "notifications/elicitation/complete"));
    assert.equal(await old.end(), 0);
    const words = { "io.modelcontextprotocol/clientCapabilities": { elicitation: { form: {} } } };
    const one = host(wrap(s.data, fixture, "--name", `new-form-${wanted.kind}`, "--login", "elicit"));
    const question = await one.modern(wanted.method, { ...wanted.params, _meta: words });
    const [[key, { params }]] = Object.entries(question.result.inputRequests);
    assert.deepEqual([params.mode, params.requestedSchema], ["form", { type: "object", properties: {} }]);
    await approve(/http:\S+\/device\?user_code=[A-Z-]+/.exec(params.message)[0]);
    wanted.gives((await one.modern(wanted.method, { ...wanted.params, _meta: words, requestState: question.result.requestState, inputResponses: { [key]: { action: "accept" } } })).result);
    assert.equal(await one.end(), 0);
  });
}
