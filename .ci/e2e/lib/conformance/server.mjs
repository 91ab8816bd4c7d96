// A stdio MCP server that offers whatever the conformance suite looks for, in both eras: test code. The content is in
// ./content.mjs, questions to the host in ./rounds.mjs, the tasks extension in ./tasks.mjs; this is the protocol.
// An argument `legacy` or `modern` makes it a server of that era alone, which asks its host as that era does.

import { createInterface } from "node:readline";
import { completion, prompts, resources, templates, tools } from "./content.mjs";
import { EXTENSION, tasks } from "./tasks.mjs";

const MODERN = "2026-07-28";
const LEGACY = ["2025-03-26", "2025-06-18", "2025-11-25"];
const PROTOCOL = "io.modelcontextprotocol";
const only = process.argv[2];
const server = { name: "conformance-fixture", version: "1.0.0" };
const capabilities = {
  tools: { listChanged: true }, resources: { subscribe: true, listChanged: true }, prompts: { listChanged: true },
  logging: {}, completions: {},
};

const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
const fail = (code, message, data) => Object.assign(new Error(message), { code, data });
const asked = new Map();
const listeners = new Map();
let legacyHost = {};
let last = 0;

/** One request: who asks, what they can do, and how to speak to them meanwhile. */
function request(id, params, isModern) {
  const meta = params._meta ?? {};
  let questions = 0;
  return {
    isModern, params,
    capabilities: isModern ? (meta[`${PROTOCOL}/clientCapabilities`] ?? {}) : legacyHost,
    notify: (method, more) => send({ method, params: more }),
    log(level, data) {
      if (!isModern || meta[`${PROTOCOL}/logLevel`]) send({ method: "notifications/message", params: { level, logger: "fixture", data } });
    },
    progress(progress, total) {
      if (meta.progressToken !== undefined) send({ method: "notifications/progress", params: { progressToken: meta.progressToken, progress, total } });
    },
    /** A question: a request of ours in the earlier era, in the modern one a result with which the host comes back. */
    ask(method, more) {
      if (!isModern) return ask(id, method, more);
      const key = `question-${++questions}`;
      const answer = params.inputResponses?.[key];
      if (answer === undefined) throw { result: { resultType: "input_required", inputRequests: { [key]: { method, params: more } } } };
      return answer;
    },
    changed,
  };
}

/** Asks the host while a request of its is under way. */
function ask(during, method, params) {
  return new Promise((resolve, reject) => {
    const id = `q-${during}-${++last}`;
    asked.set(id, ({ result, error }) => (error ? reject(fail(error.code, error.message)) : resolve(result)));
    send({ id, method, params });
  });
}

/** What wants answers in its result gets them one by one, as a server of the earlier era asks. */
async function inTurn(id, run, params) {
  const result = await run(request(id, params, false));
  if (result.resultType !== "input_required") return result;
  const answers = {};
  for (const [key, { method, params: more }] of Object.entries(result.inputRequests)) {
    // A host that cannot be asked this may be asked the rest.
    await ask(id, method, more).then((answer) => (answers[key] = answer), () => {});
  }
  return inTurn(id, run, { ...params, inputResponses: answers, requestState: result.requestState });
}

/** Tells whoever wants to know that a list has changed. */
function changed(kind) {
  const method = `notifications/${kind}/list_changed`;
  if (!listeners.size) send({ method });
  for (const [id, filter] of listeners) {
    if (filter[`${kind}ListChanged`]) send({ method, params: { _meta: { [`${PROTOCOL}/subscriptionId`]: id } } });
  }
}

const listed = (items) => items.map(({ run, ...item }) => item);
const named = (items, name, what) => items.find((item) => item.name === name) ?? (() => { throw fail(-32602, `Unknown ${what}: ${name}`, { name }); })();

const methods = {
  "tools/list": () => ({ tools: listed(tools) }),
  "tools/call": (one) => named(tools, one.params.name, "tool").run(one.params.arguments ?? {}, one),
  "prompts/list": () => ({ prompts: listed(prompts) }),
  "prompts/get": (one) => named(prompts, one.params.name, "prompt").run(one.params.arguments ?? {}, one),
  "resources/list": () => ({ resources: listed(resources) }),
  "resources/templates/list": () => ({ resourceTemplates: listed(templates) }),
  "resources/read": (one) => {
    const { uri } = one.params;
    const found = resources.find((item) => item.uri === uri) ?? templates.find((item) => item.run(uri));
    if (!found) throw fail(one.isModern ? -32602 : -32002, "Resource not found", { uri });
    return { contents: [found.run(uri)] };
  },
  "completion/complete": completion,
};
const legacy = {
  initialize: ({ params }) => {
    legacyHost = params.capabilities ?? {};
    const protocolVersion = LEGACY.includes(params.protocolVersion) ? params.protocolVersion : LEGACY.at(-1);
    return { protocolVersion, capabilities, serverInfo: server };
  },
  ping: () => ({}),
  "logging/setLevel": () => ({}),
  "resources/subscribe": () => ({}),
  "resources/unsubscribe": () => ({}),
  ...methods,
};
const modern = {
  "server/discover": () => ({ supportedVersions: [MODERN], capabilities: { ...capabilities, extensions: { [EXTENSION]: {} } } }),
  ...methods,
  ...tasks,
};
const CACHEABLE = ["server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"];

/** Opens a stream of news. It is never answered: it ends when the host says so. */
function listen(id, { notifications = {} }) {
  listeners.set(id, notifications);
  const known = ["toolsListChanged", "promptsListChanged", "resourcesListChanged"].filter((kind) => notifications[kind]);
  send({
    method: "notifications/subscriptions/acknowledged",
    params: { _meta: { [`${PROTOCOL}/subscriptionId`]: id }, notifications: Object.fromEntries(known.map((kind) => [kind, true])) },
  });
}

async function answer(id, method, params) {
  const version = params._meta?.[`${PROTOCOL}/protocolVersion`];
  const isModern = only !== "legacy" && version !== undefined;
  try {
    if (isModern && version !== MODERN) throw fail(-32022, "Unsupported protocol version", { supported: [MODERN], requested: version });
    if (isModern && !params._meta[`${PROTOCOL}/clientCapabilities`]) throw fail(-32602, "_meta names no capabilities");
    if (isModern && method === "subscriptions/listen") return listen(id, params);
    const known = isModern ? modern : only === "modern" ? {} : legacy;
    if (!Object.hasOwn(known, method)) throw fail(-32601, `Method not found: ${method}`);
    const result = isModern ? await known[method](request(id, params, true)) : await inTurn(id, known[method], params);
    const whole = isModern && { resultType: "complete", ...(CACHEABLE.includes(method) && { ttlMs: 0, cacheScope: "public" }), _meta: { [`${PROTOCOL}/serverInfo`]: server } };
    send({ id, result: { ...whole, ...result } });
  } catch ({ code = -32603, message, data, result }) {
    send(result ? { id, result } : { id, error: { code, message, ...(data && { data }) } });
  }
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params = {}, ...rest } = JSON.parse(line);
  if (method === undefined) {
    asked.get(id)?.(rest);
    asked.delete(id);
  } else if (id !== undefined) {
    void answer(id, method, params);
  } else if (method === "notifications/cancelled") {
    listeners.delete(params.requestId);
  }
});
