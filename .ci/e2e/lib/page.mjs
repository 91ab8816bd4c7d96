// A person's browser without the browser: cookies, pages, forms found by what a person would see.

import assert from "node:assert/strict";
import { ask, form } from "./http.mjs";
import { remember } from "./secrets.mjs";

const NAMED = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: " " };

/** Text with its character references resolved. */
export function unescape(text) {
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) => {
    if (hex) return String.fromCodePoint(parseInt(hex, 16));
    if (decimal) return String.fromCodePoint(Number(decimal));
    return NAMED[name] ?? whole;
  });
}

function attributes(tag) {
  const found = {};
  for (const [, name, a, b, c] of tag.matchAll(/([a-z-]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+)))?/gi)) {
    found[name.toLowerCase()] ??= unescape(a ?? b ?? c ?? "");
  }
  return found;
}

/** The text that a person reads. */
export const visible = (html) =>
  unescape(html.replace(/<(style|head|script)\b[\s\S]*?<\/\1>/gi, " ").replace(/<[^>]*>/g, " ")).replace(/\s+/g, " ").trim();

/** Every form of a page: action, method, fields with their values, buttons with their words. */
export function forms(html) {
  return [...html.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)].map(([, head, body]) => {
    const { action = "", method = "get" } = attributes(head);
    const inputs = [...body.matchAll(/<input\b([^>]*?)\/?>/gi)].map(([, tag]) => attributes(tag));
    const buttons = [...body.matchAll(/<button\b([^>]*)>([\s\S]*?)<\/button>/gi)].map(([, tag, words]) => ({
      type: "submit",
      ...attributes(tag),
      words: visible(words),
    }));
    return { action, method: method.toLowerCase(), inputs, buttons, html: body };
  });
}

/** What a form sends when nothing is touched; `fill` decides on the fields a person fills in. */
export function filled(found, fill = {}, button) {
  const fields = [];
  for (const input of found.inputs) {
    if (!input.name || input.type === "submit" || input.disabled !== undefined) continue;
    if ((input.type === "checkbox" || input.type === "radio") && input.checked === undefined) continue;
    fields.push([input.name, input.name in fill ? fill[input.name] : (input.value ?? (input.type === "checkbox" ? "on" : ""))]);
  }
  if (button?.name) fields.push([button.name, button.value ?? ""]);
  return fields;
}

/** A browser: keeps cookies, sends what a browser sends, follows a redirect only within the service. */
export class Browser {
  constructor(origin) {
    this.origin = origin;
    this.cookies = new Map();
  }

  async ask(url, options = {}) {
    const cookie = [...this.cookies].map(([name, { value }]) => `${name}=${value}`).join("; ");
    const answer = await ask(new URL(url, this.origin), {
      ...options,
      headers: { accept: "text/html,application/xhtml+xml", ...(cookie && { cookie }), ...options.headers },
    });
    for (const line of answer.headers["set-cookie"] ?? []) this.keep(line);
    return answer;
  }

  keep(line) {
    const [pair, ...rest] = line.split(/;\s*/);
    const at = pair.indexOf("=");
    const [name, value] = [pair.slice(0, at), pair.slice(at + 1)];
    const gone = value === "" || rest.some((part) => /^max-age=(0|-)/i.test(part));
    if (gone) this.cookies.delete(name);
    else {
      this.cookies.set(name, { value, line });
      if (value.length >= 16) remember("cookie", value);
    }
  }

  /** GET, and on through redirects that stay here. A redirect elsewhere is given back as it is. */
  async open(url, options) {
    return this.follow(await this.ask(url, options), url);
  }

  async follow(answer, url, hops = 5) {
    let [seen, at] = [answer, new URL(url, this.origin)];
    while ([302, 303].includes(seen.status) && hops-- > 0) {
      const next = new URL(seen.location, at);
      if (next.origin !== new URL(this.origin).origin) break;
      seen = await this.ask(next);
      at = next;
    }
    seen.url = at;
    return seen;
  }

  /** Submits a form of `page` as a person does, by the words on the button. */
  async submit(page, { fill = {}, press, edit = (fields) => fields, headers = {}, follow = true } = {}) {
    const all = forms(page.text).filter((found) => found.method === "post");
    assert.ok(all.length, `a form to submit on ${page.path}: ${visible(page.text).slice(0, 300)}`);
    const found = press ? all.find((one) => one.buttons.some((b) => press.test(b.words))) : all[0];
    assert.ok(found, `a button ${press} on ${page.path}: ${visible(page.text).slice(0, 300)}`);
    const button = press ? found.buttons.find((b) => press.test(b.words)) : found.buttons[0];
    const target = new URL(found.action || page.url, page.url);
    const body = form(edit(filled(found, fill, button)));
    const answer = await this.ask(target, {
      method: "POST",
      body,
      headers: { "content-type": "application/x-www-form-urlencoded", origin: new URL(this.origin).origin, ...headers },
    });
    return follow ? this.follow(answer, target) : Object.assign(answer, { url: target });
  }
}

/** The names of the user-name and password fields of a login page. */
export function loginFields(page) {
  const found = forms(page.text).find((one) => one.inputs.some((input) => input.type === "password"));
  if (!found) return undefined;
  const password = found.inputs.filter((input) => input.type === "password").map((input) => input.name);
  const user = found.inputs.find((input) => ["text", "email", undefined].includes(input.type) && input.name)?.name;
  return { user, password };
}
