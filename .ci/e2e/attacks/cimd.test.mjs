// Clients that name themselves by a URL (Client ID Metadata Documents), with documents on a web server of this test and on a
// second service that hosts one; and keys behind a jwks_uri.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, test } from "node:test";
import { asserting, assertion, pair } from "../lib/assertion.mjs";
import { ALLOW, CALLBACK, authorize, codeFor, jwt, login, person, pkce, redeem, refresh, refused, request } from "../lib/flow.mjs";
import { get, post } from "../lib/http.mjs";
import { visible } from "../lib/page.mjs";
import { runToEnd } from "../lib/programs.mjs";
import { service } from "../lib/service.mjs";

const s = await service({ args: ["--cimd-allow-private"] });
const strict = await service();
const host = await service({ users: [] });
const web = await documents();
after(() => Promise.all([s.end(), strict.end(), host.end(), web.close()]));
const browser = await person(s);

/** A web server whose answers the tests set by path; it counts what it is asked. */
async function documents() {
  const [answers, asked] = [new Map(), []];
  const server = createServer((incoming, answer) => {
    asked.push({ path: incoming.url, headers: incoming.headers });
    const { status = 200, headers = {}, body = "" } = answers.get(incoming.url) ?? { status: 404 };
    answer.writeHead(status, { "content-type": "application/json", ...headers }).end(typeof body === "string" ? body : JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = (path) => `http://127.0.0.1:${server.address().port}${path}`;
  return {
    url,
    asked: (path) => asked.filter((one) => one.path === path),
    answer: (path, answer) => answers.set(path, answer),
    /** Publishes a good document, and gives back the client that it describes. */
    publish(path, more = {}, headers = {}) {
      const client = { client_id: url(path), client_name: "Documented", redirect_uris: [CALLBACK], ...more };
      answers.set(path, { body: client, headers });
      return client;
    },
    close: () => server.closeAllConnections() ?? server.close(),
  };
}
/** A page that sends nobody anywhere. */
async function refusedPage(of, client_id, words) {
  const page = await authorize(of, await person(of), request({ client_id }, pkce()));
  assert.equal(page.status, 400, page.text);
  assert.equal(page.location, undefined);
  assert.match(visible(page.text), words);
}

test("MET-07 documents are advertised where they are taken", () => {
  assert.equal(s.meta.client_id_metadata_document_supported, true);
});
test("CIM-01 CIM-17 a client by its document: the page names its host, the tokens its URL, and one fetch is enough", async () => {
  const client = web.publish("/app.json", {}, { "cache-control": "max-age=600" });
  const page = await authorize(s, browser, request(client, pkce()));
  assert.match(visible(page.text), /described at 127\.0\.0\.1/);
  const got = await login(s, browser, client);
  assert.equal(jwt(got.access_token).claims.client_id, client.client_id);
  assert.equal((await refresh(s, client, got.refresh_token)).status, 200);
  assert.equal(web.asked("/app.json").length, 1);
  for (const { headers } of web.asked("/app.json")) assert.ok(!headers.cookie && !headers.referer && !headers.authorization);
});
test("N15 a document that changes while the page is open: the yes was to another client", async () => {
  const client = web.publish("/turn.json", {}, { "cache-control": "no-store" });
  const page = await authorize(s, browser, request(client, pkce()));
  web.publish("/turn.json", { client_name: "Your bank" }, { "cache-control": "no-store" });
  const answer = await browser.submit(page, { press: ALLOW, follow: false });
  assert.equal(answer.status, 400, answer.text);
  assert.equal(answer.location, undefined);
});
// Each is a good document but for what it is refused for.
for (const [what, change] of Object.entries({
  "CIM-01 another client_id": (good) => ({ body: { ...good, client_id: "https://other.example/app.json" } }),
  "CIM-03 a redirect": (good) => ({ status: 302, headers: { location: "/app.json" }, body: good }),
  "CIM-04 an error": (good) => ({ status: 500, body: good }),
  "CIM-04 not found": (good) => ({ status: 404, body: good }),
  "CIM-05 another type": (good) => ({ headers: { "content-type": "text/html" }, body: good }),
  "CIM-06 more than 5 KiB": (good) => ({ body: JSON.stringify(good).padEnd(5121) }),
  "CIM-08 a client_secret": (good) => ({ body: { ...good, client_secret: "s" } }),
  "REG-01 no JSON": (good) => ({ body: JSON.stringify(good).slice(0, -1) }),
})) {
  test(`${what} is no client`, async () => {
    const path = `/bad-${encodeURIComponent(what)}.json`;
    const good = web.publish(path);
    web.answer(path, change(good));
    await refusedPage(s, web.url(path), /invalid_client/);
    const device = await post(s.meta.device_authorization_endpoint, { client_id: web.url(path) });
    refused(device, [400, 401], "invalid_client");
  });
}
test("CIM-06 exactly 5 KiB is a client", async () => {
  const good = web.publish("/exact.json");
  web.answer("/exact.json", { body: JSON.stringify(good).padEnd(5120) });
  assert.match(visible((await authorize(s, browser, request(good, pkce()))).text), /Documented/);
});
test("CIM-02 a service that serves people fetches nothing from this machine", async () => {
  const client = web.publish("/inside.json");
  await refusedPage(strict, client.client_id, /invalid_client/);
  for (const url of ["https://127.0.0.1/x.json", "https://[::1]/x.json", "https://2130706433/x.json", "https://localhost/x.json"]) {
    await refusedPage(strict, url, /invalid_client/);
  }
  assert.equal(web.asked("/inside.json").length, 0);
});
test("N14 a document that another service hosts is a client here", async () => {
  const published = runToEnd("authz-service", ["client", "publish", "bridge", "--redirect-uri", CALLBACK, "--json", "--data", host.data]);
  assert.equal(published.code, 0, published.stderr);
  const { client_id } = JSON.parse(published.stdout);
  assert.equal((await get(client_id)).json.client_id, client_id);
  const got = await login(s, browser, { client_id, redirect_uris: [CALLBACK] });
  assert.equal(jwt(got.access_token).claims.client_id, client_id);
});
test("C5 a document's client signs with keys behind its jwks_uri, and goes on with new ones", async () => {
  const [first, second] = [pair("ES256", "first"), pair("EdDSA", "second")];
  const keys = (...some) => web.answer("/keys.json", { body: { keys: some.map((key) => key.jwk) }, headers: { "cache-control": "no-store" } });
  keys(first);
  const client = web.publish("/signer.json", { token_endpoint_auth_method: "private_key_jwt", jwks_uri: web.url("/keys.json") });
  const exchange = async (key) => redeem(s, client, await codeFor(s, browser, client), asserting(assertion(key, client, s.issuer)));
  assert.equal((await exchange(first)).status, 200);
  refused(await exchange(second), 401, "invalid_client");
  keys(second);
  assert.equal((await exchange(second)).status, 200);
  refused(await exchange(first), 401, "invalid_client");
  refused(await redeem(s, client, await codeFor(s, browser, client)), 401, "invalid_client");
  web.answer("/keys.json", { status: 503 });
  refused(await exchange(second), 401, "invalid_client");
});
test("C15 nothing was written down", () => Promise.all([s.assertWell(), strict.assertWell(), host.assertWell()]));
