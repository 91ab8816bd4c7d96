// Tools and a prompt that ask the host in their results (MCP 2026-07-28, "Multi Round-Trip Requests").

import { createHmac, randomBytes } from "node:crypto";

const key = randomBytes(32);
const mac = (text) => createHmac("sha256", key).update(text).digest("hex");
/** A state that nobody else can make. */
const seal = (value) => {
  const text = JSON.stringify({ ...value, nonce: randomBytes(8).toString("hex") });
  return `${Buffer.from(text).toString("base64url")}.${mac(text)}`;
};
const open = (state) => {
  const [coded, tag] = state.split(".");
  const text = Buffer.from(coded, "base64url").toString();
  if (tag !== mac(text)) throw Object.assign(new Error("requestState integrity check failed"), { code: -32602 });
  return JSON.parse(text);
};

const form = (message, name, type = "string") => ({
  method: "elicitation/create",
  params: { message, requestedSchema: { type: "object", properties: { [name]: { type } }, required: [name] } },
});
const sampling = (words) => ({ method: "sampling/createMessage", params: { messages: [{ role: "user", content: { type: "text", text: words } }], maxTokens: 100 } });
const roots = { method: "roots/list", params: {} };
const text = (words) => ({ content: [{ type: "text", text: words }] });
const required = (inputRequests, state) => ({ resultType: "input_required", inputRequests, ...(state && { requestState: seal(state) }) });
/** What came back under a name: an object, or nothing. */
const given = (one, name) => {
  const value = one.params.inputResponses?.[name];
  return value !== null && typeof value === "object" ? value : undefined;
};
const state = (one) => (one.params.requestState === undefined ? undefined : open(one.params.requestState));

const rounds = {
  elicitation(one) {
    const name = given(one, "user_name");
    return name ? text(`Hello, ${name.content?.name}!`) : required({ user_name: form("What is your name?", "name") });
  },
  sampling(one) {
    const answer = given(one, "capital_question");
    return answer ? text(`Sampling result: ${answer.content?.text}`) : required({ capital_question: sampling("What is the capital of France?") });
  },
  list_roots(one) {
    const answer = given(one, "client_roots");
    return answer ? text(`Roots: ${answer.roots?.map((root) => root.uri)}`) : required({ client_roots: roots });
  },
  request_state(one) {
    if (state(one)?.kind === "request-state" && given(one, "confirm")) return text("state-ok");
    return required({ confirm: form("Please confirm", "ok", "boolean") }, { kind: "request-state" });
  },
  multiple_inputs(one) {
    const [name, greeting, listed] = ["user_name", "greeting", "client_roots"].map((key) => given(one, key));
    if (state(one) && name && greeting && listed) return text(`Name: ${name.content?.name}; Greeting: ${greeting.content?.text}; Roots: ${listed.roots?.length}`);
    return required({ user_name: form("What is your name?", "name"), greeting: sampling("Generate a greeting"), client_roots: roots }, { kind: "multiple" });
  },
  multi_round(one) {
    const before = state(one);
    const [step1, step2] = ["step1", "step2"].map((key) => given(one, key));
    if (before?.round === 2 && step2) return text(`Complete for ${before.name}, who likes ${step2.content?.color}`);
    if (before?.round === 1 && step1) return required({ step2: form("Step 2: What is your favorite color?", "color") }, { round: 2, name: step1.content?.name });
    return required({ step1: form("Step 1: What is your name?", "name") }, { round: 1 });
  },
  tampered_state(one) {
    if (state(one) && given(one, "confirm")) return text("integrity-ok: state verified");
    return required({ confirm: form("Please confirm", "ok", "boolean") }, { kind: "tamper-test" });
  },
  capabilities(one) {
    if (one.params.inputResponses) return text(`capabilities-ok: ${Object.keys(one.params.inputResponses)}`);
    const wanted = { elicit_input: ["elicitation", form("Elicitation input", "value")], sample_input: ["sampling", sampling("Sample request")] };
    const can = Object.entries(wanted).filter(([, [capability]]) => one.capabilities[capability] || !one.isModern);
    return can.length ? required(Object.fromEntries(can.map(([key, [, request]]) => [key, request])), { kind: "capabilities" }) : text("No supported capabilities declared");
  },
};

export const roundTools = Object.entries(rounds).map(([name, run]) => ({
  name: `test_input_required_result_${name}`,
  description: "Asks the host before it answers.",
  inputSchema: { type: "object", properties: {} },
  run: (_, one) => run(one),
}));

export const roundPrompts = [
  {
    name: "test_input_required_result_prompt",
    description: "Asks the host before it answers.",
    run(_, one) {
      const context = given(one, "user_context");
      if (!context) return required({ user_context: form("What context should the prompt use?", "context") });
      return { messages: [{ role: "user", content: { type: "text", text: `Prompt with context: ${context.content?.context}` } }] };
    },
  },
];

/** The question of a tool that asks first and works on afterwards. */
export const askForName = (one) => given(one, "user_name")?.content?.name;
export const nameRequired = () => required({ user_name: form("What is your name?", "name") });
export const question = form;
