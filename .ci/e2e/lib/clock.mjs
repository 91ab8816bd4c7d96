// A clock that tests turn: libfaketime in front of a program, steered by a file. Its monotonic clock stays true.

import { existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempFolder } from "./programs.mjs";

const library = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map((cpu) => `/usr/lib/${cpu}/faketime/libfaketime.so.1`).find(existsSync);

const missing = "libfaketime is not installed (apt-get install faketime)";
// What is skipped in CI is tested nowhere.
if (!library && process.env.CI) throw new Error(missing);

/** A reason to skip, or false. */
export const noClock = library ? false : missing;

export const MINUTE = 60;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** The environment of a program whose clock is off by as many seconds as `set` says. */
export function clock(seconds = 0) {
  const file = join(tempFolder("clock"), "offset");
  const set = (offset) => {
    // Replaced whole: a program that reads in between must not see an empty file.
    writeFileSync(`${file}.new`, `${offset < 0 ? "-" : "+"}${Math.abs(offset)}\n`);
    renameSync(`${file}.new`, file);
  };
  set(seconds);
  return { set, env: { LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: "1", FAKETIME_DONT_FAKE_MONOTONIC: "1" } };
}
