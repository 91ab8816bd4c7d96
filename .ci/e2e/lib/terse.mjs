// A reporter that says little when all is well: one line per file, and every failure with its reason.

import { relative } from "node:path";

/** The first lines of what a failed assertion said. */
function reason(error) {
  const cause = error?.cause ?? error;
  const text = String(cause?.message ?? cause);
  return text.split("\n").slice(0, 12).map((line) => `      ${line.slice(0, 600)}`).join("\n");
}

export default async function* terse(events) {
  const files = new Map();
  const said = new Map();
  for await (const { type, data } of events) {
    if (type === "test:stderr") said.set(data.file, (said.get(data.file) ?? "") + data.message);
    if (type !== "test:pass" && type !== "test:fail") continue;
    const file = relative(process.cwd(), data.file ?? data.name);
    const seen = files.get(file) ?? { passed: 0, failed: 0, skipped: 0 };
    files.set(file, seen);
    const isFile = data.nesting === 0 && data.name.endsWith(".test.mjs");
    if (isFile) {
      if (type === "test:fail" && seen.failed === 0) yield `  FAILED ${file}:\n${reason(said.get(data.file) ?? data.details.error)}\n`;
      continue;
    }
    if (data.details?.type === "suite") continue;
    if (data.skip !== undefined) {
      seen.skipped += 1;
      yield `  skipped ${data.name}: ${data.skip}\n`;
    } else if (type === "test:pass") seen.passed += 1;
    else {
      seen.failed += 1;
      yield `  FAILED ${file}:${data.line ?? "?"} ${data.name}\n${reason(data.details.error)}\n`;
    }
  }
  for (const [file, { passed, failed, skipped }] of files) {
    if (passed + failed + skipped) yield `  ${file}: ${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ""}\n`;
  }
}
