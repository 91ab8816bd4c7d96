// mcp-client, and a person who signs in where it leads them.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ALLOW, logIn } from "./flow.mjs";
import { Browser, loginFields } from "./page.mjs";
import { cleanEnv, program, tempFolder } from "./programs.mjs";
import { until } from "./wait.mjs";

/** An mcp-client with a home of its own; what would open a browser writes down where to. */
export function mcpClient() {
  const [store, folder] = [tempFolder("vault"), tempFolder("browser")];
  const [script, opened] = ["open", "url"].map((name) => join(folder, name));
  writeFileSync(script, `#!/bin/sh\nprintf '%s\\n' "$1" > ${opened}.new && mv ${opened}.new ${opened}\n`);
  chmodSync(script, 0o755);
  const env = cleanEnv({ BROWSER: script, HOME: tempFolder("home") });
  const run = (...args) =>
    new Promise((resolve) => execFile(program("mcp-client"), [...args, "--store", store], { env, timeout: 60_000 }, (error, stdout, stderr) => resolve({ code: error ? (error.code ?? -1) : 0, stdout, stderr })));
  return {
    run,
    /** Signs in to a server that says where, as `user` who says yes; the text of the page that asked. */
    async login(service, url, user = "ada") {
      const signingIn = run("login", url);
      const to = await until("the browser", () => existsSync(opened) && readFileSync(opened, "utf8").trim(), 15_000);
      const visitor = new Browser(service.url);
      const page = await visitor.open(to);
      const consent = loginFields(page) ? await logIn(visitor, page, user) : page;
      const answer = await visitor.submit(consent, { press: ALLOW, follow: false });
      await fetch(answer.location);
      const done = await signingIn;
      assert.equal(done.code, 0, done.stderr);
      return consent.text;
    },
  };
}
