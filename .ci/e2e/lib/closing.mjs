// A reporter for the last line of a run: `N passed, N failed`, counting the tests and not the files around them.

export default async function* closing(events) {
  let [passed, failed, skipped] = [0, 0, 0];
  for await (const { type, data } of events) {
    if (type !== "test:pass" && type !== "test:fail") continue;
    // A file is a test of its own only in the runner's eyes, unless it broke before it could say anything.
    const isFile = data.nesting === 0 && /\.test\.mjs$/.test(data.name);
    if (data.details?.type === "suite" || (isFile && type === "test:pass")) continue;
    if (data.skip !== undefined) skipped += 1;
    else if (type === "test:pass") passed += 1;
    else failed += 1;
  }
  yield `${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ""}\n`;
}
