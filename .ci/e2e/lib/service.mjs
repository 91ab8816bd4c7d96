// A running authorization service on a fresh store, with the people that a test needs.

import assert from "node:assert/strict";
import { join } from "node:path";
import { get } from "./http.mjs";
import { freePort, runToEnd, start, stop, tempFolder } from "./programs.mjs";
import { assertClean, assertFolderClean, remember } from "./secrets.mjs";
import { until } from "./wait.mjs";

export const PASSWORD = "correct horse battery staple 17";

/** Makes an account, as an operator does. */
export function addUser(data, name, password = PASSWORD, more = []) {
  remember("password", password);
  const done = runToEnd("authz-service", ["user", "add", name, "--password-stdin", "--data", data, ...more], { input: `${password}\n` });
  assert.equal(done.code, 0, `user add ${name}: ${done.stderr}${done.stdout}`);
  return done;
}

/** Starts a service; answers once it serves. */
export async function service({ args = [], users = ["ada"], env = {}, data, port, limits = false, log = "trace", ulimit } = {}) {
  const folder = data ?? join(tempFolder("store"), "data");
  for (const name of users) addUser(folder, name);
  const at = port ?? (await freePort());
  const flags = ["serve", "--port", String(at), "--data", folder, ...(limits ? [] : ["--rate-limits", "off"]), ...args];
  const run = start("authz-service", flags, { env: { RUST_LOG: log, ...env }, ulimit });
  const url = `http://localhost:${at}`;
  await until(`the service on ${url}`, async () => {
    if (run.code !== undefined) throw new Error(`authz-service ended with ${run.code}: ${run.stderr}${run.stdout}`);
    return get(`${url}/health`, { check: false }).then((answer) => answer.status === 200, () => false);
  });
  const meta = (await get(`${url}/.well-known/oauth-authorization-server`)).json;
  const self = {
    run, url, port: at, data: folder, meta, issuer: meta?.issuer,
    at: (path) => url + path,
    end: (signal) => stop(run, signal),
    logs: () => run.stdout + run.stderr,
    /** It lives, serves, and has written down no secret. */
    async assertWell() {
      assert.equal(run.code, undefined, `the service lives: ${run.stderr.slice(-2000)}`);
      assert.equal((await get(`${url}/health`)).status, 200);
      assert.doesNotMatch(self.logs(), /panicked at/, "no handler panicked");
      assertClean("the service's log", self.logs());
      assertFolderClean(folder);
    },
  };
  return self;
}
