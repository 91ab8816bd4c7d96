// Chromium for the tests: fresh profiles that note everything that goes wrong, photographs in both widths, axe-core, and a
// person who has a keyboard only.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before } from "node:test";
import { chromium } from "playwright-core";
import { tempFolder } from "./programs.mjs";
import { PASSWORD } from "./service.mjs";
import { until } from "./wait.mjs";

const axePath = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
export const shots = process.env.SHOTS ?? tempFolder("shots");
mkdirSync(shots, { recursive: true });
export const WIDE = { width: 1280, height: 900 };
export const NARROW = { width: 360, height: 740 };
/** Markup, a right-to-left override, and 128 characters without a space to break at. */
export const HOSTILE = `<img src=x onerror=alert(1)>\u202e${"W".repeat(128 - 29)}`;

/** A fingerprint reader of Chromium's: makes passkeys, and says that it saw its owner. */
export async function reader(page) {
  const cdp = await devtools(page);
  await cdp.send("WebAuthn.enable");
  const options = { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true };
  const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", { options });
  return (what, more) => cdp.send(`WebAuthn.${what}`, { authenticatorId, ...more });
}

/** A client's callback: remembers where it was called, answers a small page. */
export async function listen() {
  const calls = [];
  const server = createServer((incoming, answer) => {
    if (incoming.url.startsWith("/cb")) calls.push(new URL(incoming.url, "http://127.0.0.1"));
    answer.setHeader("content-type", "text/html").end("<!doctype html><title>done</title>done");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const uri = `http://127.0.0.1:${server.address().port}/cb`;
  return { uri, calls, close: () => server.closeAllConnections() ?? server.close(), next: (state) => until(`the callback of ${state}`, () => calls.find((url) => url.searchParams.get("state") === state)) };
}

/**
 * A browser for a service's pages, open from the first test to the last. `foreign` are the hosts, besides the service's own,
 * that a page may send people to.
 */
export function browserAt(s, foreign = []) {
  let browser;
  before(async () => {
    const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args });
  });
  after(() => browser?.close());
  /** A fresh profile, and everything that went wrong in it. */
  const visitor = async (viewport = WIDE, more = {}) => {
    const context = await browser.newContext({ viewport, ...more });
    const page = await context.newPage();
    const faults = [];
    // Told to the console, and so a fault.
    await page.addInitScript(() => addEventListener("securitypolicyviolation", (one) => console.error(`CSP: ${one.violatedDirective} ${one.blockedURI}`)));
    page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
    page.on("console", (message) => {
      // Chromium says so itself when a page answers 4xx; that is the answer and no fault.
      if (["error", "warning"].includes(message.type()) && !/Failed to load resource/.test(message.text())) faults.push(`console: ${message.text()}`);
    });
    page.on("dialog", (dialog) => (faults.push(`dialog: ${dialog.message()}`), dialog.dismiss()));
    page.on("request", (one) => {
      const { host, protocol } = new URL(one.url());
      if (protocol !== "data:" && ![`localhost:${s.port}`, ...foreign].includes(host)) faults.push(`request to ${host}`);
    });
    page.on("response", (answer) => {
      if (answer.status() >= 400 && /\.(css|js|png|svg|ico|woff2?)$/.test(new URL(answer.url()).pathname) && !/favicon/.test(answer.url())) faults.push(`missing ${answer.url()}`);
    });
    return { page, context, faults };
  };
  return visitor;
}

/** Photographs a page in both widths, and holds it to the rules for pages. */
export async function shoot(page, name) {
  for (const [size, viewport] of Object.entries({ wide: WIDE, narrow: NARROW })) {
    await page.setViewportSize(viewport);
    await hold(page, `${name}-${size}`);
  }
  await page.setViewportSize(WIDE);
}

/** Photographs a page as wide as it is, and holds it to the rules for pages: nothing overflows, axe finds nothing, a name is text. */
export async function hold(page, name) {
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
  const over = await page.evaluate(() => ({ width: document.scrollingElement.scrollWidth, window: innerWidth }));
  assert.ok(over.width <= over.window, `${name}: ${over.width} px in ${over.window}`);
  assert.deepEqual(await axe(page), [], name);
  assert.equal(await page.locator("img[src=x]").count(), 0, `${name}: markup in a name`);
  assert.notEqual(await override(page), "free", `${name}: a right-to-left override`);
}

/** How a person works a page: with a pointer, or with keys alone and the focus to be seen at every stop. */
export const HANDS = {
  pointer: {
    press: (page, what) => page.locator(what).first().click(),
    tick: (page, what) => page.locator(what).first().click(),
    type: (page, what, words) => page.locator(what).first().fill(words),
  },
  keys: {
    press: (page, what) => reach(page, what).then(() => page.keyboard.press("Enter")),
    tick: (page, what) => reach(page, what).then(() => page.keyboard.press("Space")),
    async type(page, what, words) {
      await reach(page, what);
      await page.keyboard.press("Control+A");
      await page.keyboard.type(words);
    },
  },
};

/** A page's one session of the DevTools protocol: Chromium takes virtual authenticators away when another one ends. */
const sessions = new WeakMap();
export async function devtools(page) {
  if (!sessions.has(page)) sessions.set(page, await page.context().newCDPSession(page));
  return sessions.get(page);
}

/** What axe-core finds, in an isolated world that the page's CSP does not reach. */
export async function axe(page) {
  const session = await devtools(page);
  const { frameTree } = await session.send("Page.getFrameTree");
  const { executionContextId } = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id, worldName: "axe" });
  const expression = `${readFileSync(axePath, "utf8")};axe.run(document, { resultTypes: ["violations"] }).then((r) => r.violations.map((v) => v.id + ": " + v.nodes.map((n) => n.target.join(" ")).join(", ")))`;
  const { result, exceptionDetails } = await session.send("Runtime.evaluate", { expression, contextId: executionContextId, awaitPromise: true, returnByValue: true });
  assert.equal(exceptionDetails, undefined, exceptionDetails?.text);
  return result.value;
}

export const button = (page, words) => page.getByRole("button", { name: words });
export const password = (page) => page.locator('input[type="password"]');
export const userField = (page) => page.locator('input:not([type="hidden"]):not([type="password"]):not([type="checkbox"])').first();

export async function logIn(page, words = PASSWORD, user = "owner") {
  await userField(page).fill(user);
  await password(page).first().fill(words);
  // Not the one that leads to somebody else's login.
  await page.locator("form", { has: password(page) }).getByRole("button").click();
  await page.waitForLoadState();
}

/** Presses Tab until the focus is on what was looked for; at most eighty times, for a page may have many boxes. */
export async function reach(page, selector) {
  for (let i = 0; i < 80; i += 1) {
    const here = await page.evaluate((wanted) => {
      const at = document.activeElement;
      const visible = at && at !== document.body && (getComputedStyle(at).outlineStyle !== "none" || getComputedStyle(at).boxShadow !== "none");
      const fits = at?.matches?.(wanted.replace(/:has-text\('.*'\)/, "")) && (!wanted.includes("has-text") || at.textContent.includes(wanted.match(/'(.*)'/)[1]));
      const { top, bottom } = at.getBoundingClientRect();
      return { on: at?.outerHTML?.slice(0, 80), fits, visible, onScreen: bottom > 0 && top < innerHeight, body: at === document.body };
    }, selector);
    if (!here.body) assert.ok(here.visible && here.onScreen, `focus can be seen on ${here.on}`);
    if (here.fits) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`Tab does not reach ${selector}`);
}

/** Where a right-to-left override stands in a page: "free" when it can turn the words around the name that holds it. */
export const override = (page) =>
  page.evaluate(() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (!node.data.includes("\u202e")) continue;
      for (let at = node.parentElement; at && at !== document.body; at = at.parentElement) {
        if (at.tagName === "BDI" || /isolate|plaintext/.test(getComputedStyle(at).unicodeBidi)) return "isolated";
      }
      return "free";
    }
    return "removed";
  });
