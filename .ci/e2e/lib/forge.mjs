// Access tokens signed with a store's own key, so that the claims alone decide about them.

import { createPrivateKey, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { remember } from "./secrets.mjs";

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const decode = (part) => JSON.parse(Buffer.from(part, "base64url"));
const clean = (value) => Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined));

/** What forges tokens of the store in `folder` from a real one; an undefined claim is left out. */
export function forger(folder, token) {
  const keys = JSON.parse(readFileSync(join(folder, "keys.json"), "utf8"));
  const privateKey = createPrivateKey({ key: Buffer.from(keys.pkcs8, "base64url"), format: "der", type: "pkcs8" });
  const [head, body, signature] = token.split(".");
  /** A signature over ready-made parts. */
  const signed = (text, { key = privateKey, dsaEncoding = "ieee-p1363" } = {}) =>
    remember("forged token", `${text}.${sign("sha256", Buffer.from(text), { key, dsaEncoding }).toString("base64url")}`);
  const forged = (claims = {}, header = {}, how) => signed(`${encode(clean({ ...decode(head), ...header }))}.${encode(clean({ ...decode(body), ...claims }))}`, how);
  return { kid: keys.kid, head, body, signature, signed, forged };
}

export { clean, decode, encode };
