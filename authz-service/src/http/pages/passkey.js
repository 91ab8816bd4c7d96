// Passkeys: asks the browser for one, puts its answer into the form, and sends the form like any other.
"use strict";

(() => {
  const form = document.getElementById("passkey");
  // A passkey is for one origin; the same service under another name could not take its answer.
  if (!form || !window.PublicKeyCredential || location.origin !== form.dataset.origin) return;
  const { challenge, rpId, handle, user, algorithms = "", exclude = "" } = form.dataset;
  const problem = form.querySelector("[role=alert]");
  const words = (list) => list.split(" ").filter(Boolean);
  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
  const base64url = (buffer) =>
    btoa(Array.from(new Uint8Array(buffer), (one) => String.fromCharCode(one)).join(""))
      .replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

  const create = () => navigator.credentials.create({ publicKey: {
    challenge: bytes(challenge),
    rp: { id: rpId, name: rpId },
    user: { id: bytes(handle), name: user, displayName: user },
    pubKeyCredParams: words(algorithms).map((alg) => ({ type: "public-key", alg: Number(alg) })),
    excludeCredentials: words(exclude).map((id) => ({ type: "public-key", id: bytes(id) })),
    authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
    attestation: "none",
    timeout: 300_000,
  } });

  const get = () => navigator.credentials.get({ publicKey: {
    challenge: bytes(challenge),
    rpId,
    userVerification: "required",
    timeout: 300_000,
  } });

  const made = ({ response }) => ({
    client_data: base64url(response.clientDataJSON),
    authenticator_data: base64url(response.getAuthenticatorData()),
    public_key: base64url(response.getPublicKey()),
    algorithm: response.getPublicKeyAlgorithm(),
  });

  const used = ({ rawId, response }) => ({
    credential: base64url(rawId),
    client_data: base64url(response.clientDataJSON),
    authenticator_data: base64url(response.authenticatorData),
    signature: base64url(response.signature),
    user_handle: base64url(response.userHandle ?? new ArrayBuffer(0)),
  });

  const send = (fields) => {
    for (const [name, value] of Object.entries(fields)) {
      form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
    }
    form.submit();
  };

  const say = (error) => {
    if (error.name === "InvalidStateError") problem.textContent = "This device has a passkey for this account already.";
    else if (handle) problem.textContent = "No passkey was made. Try again, or with another device.";
    else problem.textContent = "No passkey came from your browser. Try again, or go on with your password.";
    problem.hidden = false;
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    try {
      send(handle ? made(await create()) : used(await get()));
    } catch (error) {
      say(error);
    }
  });

  for (const other of document.querySelectorAll(".without-passkeys")) other.hidden = true;
  form.hidden = false;
})();
