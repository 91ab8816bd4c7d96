// The tools, prompts and resources that the conformance suite looks for, as its README describes them.

import { setTimeout as sleep } from "node:timers/promises";
import { roundPrompts, roundTools } from "./rounds.mjs";
import { taskTools } from "./tasks.mjs";

const IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const AUDIO = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";
/** Longer than the suite reads the stream of a call before it hangs up (10 s), so that it has to come back for the answer. */
const HANGS_UP = 11_500;

const text = (words) => ({ type: "text", text: words });
const image = { type: "image", data: IMAGE, mimeType: "image/png" };
const resource = (uri, mimeType, words) => ({ type: "resource", resource: { uri, mimeType, text: words } });
const content = (...parts) => ({ content: parts });
const tool = (name, description, run, properties = {}) => ({ name, description, inputSchema: { type: "object", properties }, run });
const string = { type: "string" };

/** A schema of draft 2020-12 with all that must come through unharmed. */
const SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: { address: { $anchor: "addressDef", type: "object", properties: { street: string, city: string } } },
  properties: { name: string, address: { $ref: "#/$defs/address" }, contactMethod: { type: "string", enum: ["phone", "email"] }, phone: string, email: string },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

const choice = (items) => items.map(([value, title]) => ({ const: value, title }));
const DEFAULTS = {
  name: { type: "string", default: "John Doe" },
  age: { type: "integer", default: 30 },
  score: { type: "number", default: 95.5 },
  status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
  verified: { type: "boolean", default: true },
};
const ENUMS = {
  untitledSingle: { type: "string", enum: ["option1", "option2", "option3"] },
  titledSingle: { type: "string", oneOf: choice([["value1", "First Option"], ["value2", "Second Option"], ["value3", "Third Option"]]) },
  legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["Option One", "Option Two", "Option Three"] },
  untitledMulti: { type: "array", minItems: 1, maxItems: 3, items: { type: "string", enum: ["option1", "option2", "option3"] } },
  titledMulti: { type: "array", minItems: 1, maxItems: 3, items: { anyOf: choice([["value1", "First Choice"], ["value2", "Second Choice"], ["value3", "Third Choice"]]) } },
};

/** Asks the host's person, in the earlier era, and says what came back. */
async function elicit(one, message, properties, required = []) {
  const { action, content: given = {} } = await one.ask("elicitation/create", { message, requestedSchema: { type: "object", properties, required } });
  return content(text(`User response: action=${action}, content=${JSON.stringify(given)}`));
}

export const tools = [
  tool("test_simple_text", "Answers with text.", () => content(text("This is a simple text response for testing."))),
  tool("test_image_content", "Answers with an image.", () => content(image)),
  tool("test_audio_content", "Answers with a sound.", () => content({ type: "audio", data: AUDIO, mimeType: "audio/wav" })),
  tool("test_embedded_resource", "Answers with a resource.", () => content(resource("test://embedded-resource", "text/plain", "This is an embedded resource content."))),
  tool("test_multiple_content_types", "Answers with several kinds.", () =>
    content(text("Multiple content types test:"), image, resource("test://mixed-content-resource", "application/json", JSON.stringify({ test: "data", value: 123 })))),
  tool("test_tool_with_logging", "Logs while it works.", async (_, one) => {
    for (const words of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
      one.log("info", words);
      await sleep(50);
    }
    return content(text("Tool with logging executed successfully"));
  }),
  tool("test_tool_with_progress", "Tells how far it is.", async (_, one) => {
    for (const step of [0, 50, 100]) {
      one.progress(step, 100);
      await sleep(50);
    }
    return content(text("done"));
  }),
  tool("test_error_handling", "Fails.", () => ({ ...content(text("This tool intentionally returns an error for testing")), isError: true })),
  tool("test_reconnection", "Takes longer than its caller listens.", async (_, one) => {
    one.log("info", "begun");
    await sleep(HANGS_UP);
    return content(text("Reconnection test completed successfully."));
  }),
  tool("test_sampling", "Asks the host's model.", async ({ prompt }, one) => {
    const answer = await one.ask("sampling/createMessage", { messages: [{ role: "user", content: text(prompt) }], maxTokens: 100 });
    return content(text(`LLM response: ${answer.content?.text}`));
  }, { prompt: string }),
  tool("test_elicitation", "Asks the host's person.", ({ message }, one) => elicit(one, message, { response: string }, ["response"]), { message: string }),
  tool("test_elicitation_sep1034_defaults", "Asks with defaults.", (_, one) => elicit(one, "Please review and update the form fields with defaults", DEFAULTS)),
  tool("test_elicitation_sep1330_enums", "Asks for choices.", (_, one) => elicit(one, "Please select options from the enum fields", ENUMS)),
  { ...tool("json_schema_2020_12_tool", "Has a schema of draft 2020-12.", (given) => content(text(JSON.stringify(given)))), inputSchema: SCHEMA },
  tool("test_custom_header", "Has an argument that a header repeats.", ({ region }) => content(text(`region ${region}`)), { region: { type: "string", "x-mcp-header": "Region" } }),
  tool("test_missing_capability", "Needs a host with a model.", (_, one) => {
    if (!one.capabilities.sampling) throw Object.assign(new Error("Missing required client capability"), { code: -32021, data: { requiredCapabilities: { sampling: {} } } });
    return content(text("Success"));
  }),
  tool("test_streaming_elicitation", "Tells how far it is.", (_, one) => {
    one.progress(50, 100);
    return content(text("Streaming complete"));
  }),
  tool("test_logging_tool", "Logs when it is asked to.", (_, one) => {
    one.log("info", "Diagnostic trace logging activated");
    return content(text("Logging evaluated"));
  }),
  ...[["tool", "tools"], ["prompt", "prompts"]].map(([word, kind]) =>
    tool(`test_trigger_${word}_change`, `Says that the ${kind} have changed.`, (_, one) => {
      one.changed(kind);
      return content(text("Mutation triggered"));
    })),
  ...roundTools,
  ...taskTools,
];

const says = (...parts) => ({ messages: parts.map((part) => ({ role: "user", content: part })) });
const argument = (name) => ({ name, description: name, required: true });

export const prompts = [
  { name: "test_simple_prompt", description: "A prompt.", run: () => says(text("This is a simple prompt for testing.")) },
  { name: "test_prompt_with_arguments", description: "With arguments.", arguments: ["arg1", "arg2"].map(argument), run: ({ arg1, arg2 }) => says(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)) },
  { name: "test_prompt_with_embedded_resource", description: "With a resource.", arguments: [argument("resourceUri")], run: ({ resourceUri }) => says(resource(resourceUri, "text/plain", "Embedded resource content for testing."), text("Please process the embedded resource above.")) },
  { name: "test_prompt_with_image", description: "With an image.", run: () => says(image, text("Please analyze the image above.")) },
  ...roundPrompts,
];

export const resources = [
  { uri: "test://static-text", name: "static-text", description: "Text.", mimeType: "text/plain", run: (uri) => ({ uri, mimeType: "text/plain", text: "This is the content of the static text resource." }) },
  { uri: "test://static-binary", name: "static-binary", description: "An image.", mimeType: "image/png", run: (uri) => ({ uri, mimeType: "image/png", blob: IMAGE }) },
  { uri: "test://watched-resource", name: "watched-resource", description: "Text.", mimeType: "text/plain", run: (uri) => ({ uri, mimeType: "text/plain", text: "Watched resource content" }) },
];

export const templates = [
  {
    uriTemplate: "test://template/{id}/data", name: "template", description: "A template.", mimeType: "application/json",
    run(uri) {
      const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
      return id && { uri, mimeType: "application/json", text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) };
    },
  },
];

export const completion = () => ({ completion: { values: [], total: 0, hasMore: false } });
