// Clients that prove who they are by a signature (RFC 7523): keys, and assertions bent in every way.

import { constants, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { register } from "./flow.mjs";
import { clean, encode } from "./forge.mjs";
import { remember } from "./secrets.mjs";

export const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const KINDS = {
  ES256: ["ec", { namedCurve: "P-256" }],
  EdDSA: ["ed25519", {}],
  RS256: ["rsa", { modulusLength: 2048 }],
  PS256: ["rsa", { modulusLength: 2048 }],
};

/** A key pair for one algorithm, with the public half as a JWK. */
export function pair(alg, kid = `key-${alg}`) {
  const [kind, options] = KINDS[alg];
  const { publicKey, privateKey } = generateKeyPairSync(kind, options);
  return { alg, kid, privateKey, publicKey, jwk: { ...publicKey.export({ format: "jwk" }), kid, alg, use: "sig" } };
}

function signature(alg, text, key) {
  const bytes = Buffer.from(text);
  if (alg === "EdDSA") return sign(null, bytes, key);
  if (alg === "ES256") return sign("sha256", bytes, { key, dsaEncoding: "ieee-p1363" });
  if (alg === "PS256") return sign("sha256", bytes, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 });
  return sign("sha256", bytes, key);
}

/** A signed assertion of `client` for `issuer`; an undefined claim is left out. */
export function assertion(key, client, issuer, claims = {}, header = {}) {
  const now = Math.floor(Date.now() / 1000);
  const head = clean({ alg: key.alg, kid: key.kid, typ: "JWT", ...header });
  const body = clean({ iss: client.client_id, sub: client.client_id, aud: issuer, jti: randomUUID(), iat: now, exp: now + 60, ...claims });
  const text = `${encode(head)}.${encode(body)}`;
  return remember("client assertion", `${text}.${signature(key.alg, text, key.privateKey).toString("base64url")}`);
}

/** The parameters that present an assertion. */
export const asserting = (jwt) => ({ client_assertion: jwt, client_assertion_type: JWT_BEARER, client_secret: undefined });

/** Registers a client that signs with these keys. */
export const signer = (service, keys, metadata = {}) =>
  register(service, { token_endpoint_auth_method: "private_key_jwt", jwks: { keys: keys.map((key) => key.jwk) }, ...metadata });
