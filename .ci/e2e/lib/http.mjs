// A plain HTTP client that follows nothing, forgives nothing, and holds every answer to the house rules.

import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import { within } from "./wait.mjs";

/** RFC 6749 section 5.2: what `error` and `error_description` may hold. */
const OAUTH_TEXT = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;
/** What a peer must never learn from an error. */
const INTERNALS = /panicked|stack backtrace|\bactix|\brustc?\b|\.rs:\d|\/root\/|\/home\/|\/tmp\/|RUST_BACKTRACE|serde/i;
const LEARNABLE = new Set(["/health", "/"]);
const UNCACHED =
  /^\/(register|oauth\/register|oauth\/authorize|authorize|oauth\/token|token|oauth\/revoke|revoke|oauth\/introspect|introspect|login|logout|consent|oauth\/consent|setup|account|admin)\b/;
const CORS_NEVER = /^\/(oauth\/authorize|authorize|login|logout|consent|oauth\/consent|setup|account|admin)\b/;

/** One request; redirects are not followed. `headers` may repeat names by giving a flat array. */
export function ask(url, { method = "GET", headers = {}, body, agent, check = true, allow = [] } = {}) {
  const target = new URL(url);
  const options = { method, headers, agent, setHost: true };
  const answer = new Promise((resolve, reject) => {
    const request = http.request(target, options, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part)).on("error", reject);
      response.on("end", () => resolve(read(target, method, response, Buffer.concat(parts))));
    });
    request.on("error", reject);
    request.end(body);
  });
  return within(40_000, `${method} ${target.pathname}`, answer).then((seen) => {
    if (check) checkAnswer(seen, allow);
    return seen;
  });
}

function read(target, method, response, bytes) {
  const text = bytes.toString("utf8");
  const type = response.headers["content-type"] ?? "";
  let json;
  if (/json/.test(type)) {
    try {
      json = JSON.parse(text);
    } catch {
      json = undefined;
    }
  }
  const headers = response.headers;
  return { path: target.pathname, method, status: response.statusCode, headers, raw: response.rawHeaders, type, text, json, location: headers.location };
}

/** The rules that hold for every answer (contract C1, C2), whatever was asked. */
export function checkAnswer(answer, allow = []) {
  const { status, headers, path, text, type, json, method } = answer;
  const where = `${method} ${path} -> ${status}\n${JSON.stringify(headers)}\n${text.slice(0, 400)}`;
  assert.ok(status < 500 || allow.includes(status), `C1 never a 5xx for a caller's mistake: ${where}`);
  assert.equal(headers["x-powered-by"], undefined, `C1 no framework name: ${where}`);
  assert.ok(!/actix|\d+\.\d+/.test(headers.server ?? ""), `C1 no server version: ${where}`);
  assert.equal(headers["access-control-allow-credentials"], undefined, `C2 CORS without credentials: ${where}`);
  if (CORS_NEVER.test(path)) {
    assert.equal(headers["access-control-allow-origin"], undefined, `C2 no CORS here: ${where}`);
  }
  if (status >= 400 && !LEARNABLE.has(path)) assert.doesNotMatch(text, INTERNALS, `C1 no internals: ${where}`);
  if (status >= 400 || (UNCACHED.test(path) && status !== 204)) {
    assert.match(headers["cache-control"] ?? "", /no-store/, `C2 no-store: ${where}`);
  }
  assert.equal(headers["x-content-type-options"], "nosniff", `C2 nosniff: ${where}`);
  if (/text\/html/.test(type)) checkPage(answer, where);
  if (/json/.test(type) && text) {
    assert.notEqual(json, undefined, `the body is JSON: ${where}`);
    if (status >= 400) checkErrorBody(json, where);
  }
  return answer;
}

function checkErrorBody(json, where) {
  assert.equal(typeof json.error, "string", `C1 an error body names the error: ${where}`);
  assert.match(json.error, OAUTH_TEXT, `C1 error characters: ${where}`);
  assert.equal(typeof json.error_description, "string", `C1 an error body describes it: ${where}`);
  assert.match(json.error_description, OAUTH_TEXT, `C1 error_description characters: ${where}`);
}

function checkPage({ headers, text }, where) {
  const csp = headers["content-security-policy"] ?? "";
  assert.match(csp, /default-src 'none'/, `UI-06 CSP default-src: ${where}`);
  assert.match(csp, /frame-ancestors 'none'/, `UI-05 frame-ancestors: ${where}`);
  assert.doesNotMatch(csp, /script-src[^;]*('unsafe-inline'|'unsafe-eval'|\*|https?:)/, `UI-05 no inline script: ${where}`);
  assert.match(csp, /base-uri 'none'/, `CSP base-uri (not covered by default-src): ${where}`);
  assert.equal((headers["x-frame-options"] ?? "").toUpperCase(), "DENY", `UI-05 X-Frame-Options: ${where}`);
  assert.equal(headers["referrer-policy"], "no-referrer", `UI-05 Referrer-Policy: ${where}`);
  assert.match(headers["cache-control"] ?? "", /no-store|max-age|no-cache/, `UI-05 caching is decided: ${where}`);
  assert.match(headers["content-type"], /charset=utf-8/i, `pages name their charset: ${where}`);
  assert.doesNotMatch(text, /<script(?![^>]*\bsrc=)[^>]*>/i, `UI-05 no inline script: ${where}`);
  assert.doesNotMatch(text, /\son[a-z]+\s*=\s*["'][^"']*["'][^<]*>/i, `UI-05 no event handlers: ${where}`);
  assert.doesNotMatch(text, /(src|href)\s*=\s*["']?(https?:)?\/\/(?!localhost|127\.0\.0\.1|\[::1\])/i, `UI-06 no third party: ${where}`);
  assert.match(text, /<html[^>]*\blang=/i, `a page has a language: ${where}`);
  assert.match(text, /<title>[^<]+<\/title>/i, `a page has a title: ${where}`);
}

export const get = (url, more) => ask(url, more);

/** A form post. `fields` is an object, a list of pairs, or a ready text. */
export function post(url, fields, { headers = {}, ...more } = {}) {
  const body = typeof fields === "string" || Buffer.isBuffer(fields) ? fields : form(fields);
  return ask(url, { method: "POST", body, ...more, headers: { "content-type": "application/x-www-form-urlencoded", ...headers } });
}

/** A JSON post. */
export function postJson(url, value, { headers = {}, ...more } = {}) {
  const body = typeof value === "string" || Buffer.isBuffer(value) ? value : JSON.stringify(value);
  return ask(url, { method: "POST", body, ...more, headers: { "content-type": "application/json", ...headers } });
}

/** `application/x-www-form-urlencoded`; absent values are left out. */
export function form(fields) {
  const pairs = Array.isArray(fields) ? fields : Object.entries(fields);
  return new URLSearchParams(pairs.filter(([, value]) => value !== undefined)).toString();
}

/** A URL with a query. */
export const withQuery = (url, fields) => `${url}?${form(fields)}`;

/** Writes bytes to a port and reads until the peer closes, or `ms` passed; the text that came back. */
export function raw(port, bytes, { ms = 3_000, host = "127.0.0.1", done } = {}) {
  return new Promise((resolve, reject) => {
    let seen = "";
    const socket = net.connect({ port, host, allowHalfOpen: true }, () => {
      for (const part of [bytes].flat()) socket.write(part);
    });
    const end = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(seen);
    };
    const timer = setTimeout(end, ms);
    socket.setEncoding("latin1").on("data", (text) => {
      seen += text;
      if (done?.(seen)) end();
    });
    socket.on("end", end);
    socket.on("error", (error) => (seen ? end() : error.code === "ECONNRESET" || error.code === "EPIPE" ? end() : (clearTimeout(timer), reject(error))));
  });
}

/** The status codes of the answers in what `raw` returned. */
export const statuses = (text) => [...text.matchAll(/HTTP\/1\.[01] (\d{3})/g)].map((hit) => Number(hit[1]));
