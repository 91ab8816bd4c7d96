// The MCP conformance suite in its `authorization` mode, against a service with login and consent, in every version of
// the specification that it offers. It prints an authorization URL and waits for a browser, which is played here.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { ALLOW, person, redirected, register } from "./lib/flow.mjs";
import { get } from "./lib/http.mjs";
import { modernNode, modules } from "./lib/node.mjs";
import { cleanEnv, freePort, tempFolder } from "./lib/programs.mjs";
import { service } from "./lib/service.mjs";
import { until } from "./lib/wait.mjs";

const SUITE = join(modules, "@modelcontextprotocol/conformance/dist/index.js");

const s = await service();
after(() => s.end());
const browser = await person(s);

/** One run of the suite: the person allows whatever URL it prints. Its exit code, its words, and how often it asked. */
function conformance(args, timeout = 40_000) {
  const env = cleanEnv({ NO_COLOR: "1" });
  const child = spawn(modernNode(), [SUITE, ...args], { env, timeout, killSignal: "SIGKILL", stdio: ["ignore", "pipe", "pipe"] });
  const run = { said: "", asked: 0, failed: undefined };
  const seen = new Set();
  const hear = (text) => {
    run.said += text;
    for (const [url] of run.said.matchAll(/https?:\/\/\S+\?\S*(?=\s)/g)) {
      if (seen.has(url) || !url.startsWith(`${s.meta.authorization_endpoint}?`)) continue;
      seen.add(url);
      run.asked += 1;
      consent(url).catch((error) => {
        run.failed ??= error;
        child.kill();
      });
    }
  };
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", hear);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => (run.failed ? reject(run.failed) : resolve({ ...run, code })));
  });
}

/** What the person does with the URL: reads the consent page, allows, and is sent back to the suite. */
async function consent(url) {
  const page = await browser.open(url);
  const answer = await browser.submit(page, { press: ALLOW, follow: false });
  redirected(answer, new URL(url).searchParams.get("redirect_uri"));
  // The suite prints the URL a moment before it listens.
  await until("the suite's callback", () => get(answer.location, { check: false }).then(() => true, (error) => {
    if (!/ECONNREFUSED/.test(`${error.code} ${error.message} ${error.cause?.code}`)) throw error;
    return false;
  }));
}

/** The checks that a run wrote down, by scenario. */
const checks = (folder) =>
  readdirSync(folder, { recursive: true })
    .filter((path) => path.endsWith("checks.json"))
    .map((path) => ({ scenario: path, found: JSON.parse(readFileSync(join(folder, path), "utf8")) }));

/** The scenarios for authorization servers, each with the versions of the specification that have it. */
async function scenarios() {
  const { said, code } = await conformance(["list", "--authorization"]);
  assert.equal(code, 0, said);
  const found = [...said.matchAll(/^\s+- (\S+) \[([^\]]*)\]/gm)].map(([, name, versions]) => ({ name, versions: versions.split(",") }));
  assert.ok(found.length >= 2, said);
  return found;
}

/** Runs what the suite has for `version` against the service at `url`, with a fresh public client. */
async function authorization(url, version, more = []) {
  const port = await freePort();
  const client = await register(s, { redirect_uris: [`http://127.0.0.1:${port}/callback`] });
  const folder = tempFolder("conformance");
  const args = ["--url", url, "--client-id", client.client_id, "--port", String(port), "--spec-version", version, "--output-dir", folder];
  const run = await conformance(["authorization", ...args, ...more]);
  return { ...run, checks: checks(folder) };
}

const offered = await scenarios();
const versions = [...new Set(offered.flatMap((one) => one.versions))].sort();

for (const version of versions) {
  test(`${version}: every scenario succeeds, without a warning`, async () => {
    const run = await authorization(s.issuer, version);
    assert.equal(run.code, 0, run.said);
    for (const { name } of offered.filter((one) => one.versions.includes(version))) {
      const of = run.checks.filter(({ scenario }) => scenario.startsWith(`authorization-server-${name}-`));
      assert.equal(of.length, 1, `${name} wrote its checks once: ${run.said}`);
      const [{ found }] = of;
      const bad = found.filter(({ status }) => !["SUCCESS", "INFO"].includes(status));
      assert.deepEqual(bad, [], `${name}: ${run.said}`);
      assert.ok(found.some(({ status }) => status === "SUCCESS"), `${name} checked something: ${run.said}`);
    }
    assert.equal(run.asked, 1, "one authorization request reached the person");
  });
}

test("the suite would notice: an address that is not the issuer to the letter fails", async () => {
  const run = await authorization(`http://127.0.0.1:${s.port}`, versions.at(-1), ["--scenario", "authorization-server-metadata-endpoint"]);
  assert.notEqual(run.code, 0, run.said);
  assert.ok(run.checks.some(({ found }) => found.some(({ status }) => status === "FAILURE")), run.said);
});

test("the service lives, and has written down no secret", () => s.assertWell());
