// The tasks extension (SEP-2663): tools whose work goes on after their answer, and how it is looked after.

import { randomUUID } from "node:crypto";
import { askForName, nameRequired, question } from "./rounds.mjs";

export const EXTENSION = "io.modelcontextprotocol/tasks";
const all = new Map();
const text = (words) => ({ content: [{ type: "text", text: words }] });
const missing = () => Object.assign(new Error("Missing required client capability"), { code: -32021, data: { requiredCapabilities: { extensions: { [EXTENSION]: {} } } } });
const declares = (one) => one.capabilities.extensions?.[EXTENSION] !== undefined;
const isOver = (task) => ["completed", "failed", "cancelled"].includes(task.status);

/** How a task reads: at its making bare, later with what it wants or gave. */
const bare = ({ taskId, status, createdAt, lastUpdatedAt }) => ({ taskId, status, createdAt, lastUpdatedAt, ttlMs: 60_000, pollIntervalMs: 100 });
const detailed = (task) => ({
  ...bare(task),
  ...(task.status === "input_required" && { inputRequests: task.wanted }),
  ...(task.status === "completed" && { result: { resultType: "complete", ...task.result } }),
  ...(task.status === "failed" && { error: task.error }),
});

function move(task, status, more) {
  if (!isOver(task)) Object.assign(task, more, { status, lastUpdatedAt: new Date().toISOString() });
}

/**
 * Makes a task that `work` moves on. The empty content is for the suite, whose check of the wire holds every result of
 * tools/call to the schema of a plain one.
 */
function create(work) {
  const now = new Date().toISOString();
  const task = { taskId: randomUUID(), status: "working", createdAt: now, lastUpdatedAt: now, given: {} };
  all.set(task.taskId, task);
  work(task);
  return { resultType: "task", content: [], ...bare(task) };
}

/** A task that is over after a while. */
const later = (ms, status, more) => create((task) => void setTimeout(() => move(task, status, more), ms));
/** A task that asks, and is over when all is answered. */
const asking = (wanted, done) => create((task) => move(task, "input_required", { wanted, done }));

/** The task that a request names, for a host that knows of tasks. */
function found(one) {
  if (!declares(one)) throw missing();
  const task = all.get(one.params.taskId);
  if (!task) throw Object.assign(new Error("Unknown task"), { code: -32602 });
  return task;
}

export const tasks = {
  "tasks/get": (one) => detailed(found(one)),
  "tasks/cancel": (one) => {
    move(found(one), "cancelled");
    return {};
  },
  "tasks/update": (one) => {
    const task = found(one);
    const answers = Object.entries(one.params.inputResponses ?? {}).filter(([key]) => task.wanted?.[key]);
    for (const [key, answer] of answers) {
      task.given[key] = answer;
      task.wanted = Object.fromEntries(Object.entries(task.wanted).filter(([name]) => name !== key));
    }
    if (answers.length && !Object.keys(task.wanted).length) move(task, "completed", { result: task.done(task.given) });
    return {};
  },
};

const tool = (name, description, run, properties = {}) => ({ name, description, inputSchema: { type: "object", properties }, run });

export const taskTools = [
  tool("greet", "Greets.", ({ name }) => text(`Hello, ${name}!`), { name: { type: "string" } }),
  tool("slow_compute", "Takes its time.", ({ seconds = 0, label = "" }, one) => {
    const result = text(`computed ${label}`);
    return declares(one) && seconds > 0 ? later(seconds * 1000, "completed", { result }) : result;
  }, { seconds: { type: "number" }, label: { type: "string" } }),
  tool("failing_job", "Fails, later.", (_, one) => {
    if (!declares(one)) throw missing();
    return later(300, "completed", { result: { ...text("the job failed"), isError: true } });
  }),
  tool("protocol_error_job", "Breaks, later.", (_, one) => {
    if (!declares(one)) throw missing();
    return later(300, "failed", { error: { code: -32603, message: "the job broke" } });
  }),
  tool("confirm_delete", "Asks before it deletes.", ({ filename }, one) => {
    if (!declares(one)) throw missing();
    return asking({ confirm: question(`Delete ${filename}?`, "confirm", "boolean") }, () => text(`deleted ${filename}`));
  }, { filename: { type: "string" } }),
  tool("multi_input", "Asks two things at once.", (_, one) => {
    if (!declares(one)) throw missing();
    return asking({ first: question("First?", "name"), second: question("Second?", "name") }, () => text("both answered"));
  }),
  tool("test_tool_with_task", "Asks first, and works on afterwards.", (_, one) => {
    if (!declares(one)) throw missing();
    const name = askForName(one);
    return name ? later(200, "completed", { result: text(`done for ${name}`) }) : nameRequired();
  }),
];
