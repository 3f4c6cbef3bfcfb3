// What a page cannot do without script: follow the log live, check a proof itself, keep up to date.

"use strict";

// -- live tail

function startTail(box) {
  const list = box.querySelector("ol");
  const note = box.querySelector("p");
  const zone = box.dataset.zone;
  const clock = new Intl.DateTimeFormat("en-GB", {
    timeZone: zone, day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
  });
  const stream = new EventSource(box.dataset.stream);
  stream.onopen = () => { note.textContent = "Connected. New entries appear here."; };
  stream.onerror = () => { note.hidden = false; note.textContent = "Interrupted; trying again…"; };
  stream.onmessage = (message) => {
    note.hidden = true;
    const entry = JSON.parse(message.data);
    const row = document.createElement("li");
    const link = document.createElement("a");
    link.href = "/audit/" + entry.index;
    link.textContent = entry.index;
    const time = document.createElement("time");
    const at = new Date(entry.recorded_at);
    time.dateTime = entry.recorded_at;
    time.title = at.toISOString();
    time.textContent = clock.format(at);
    row.append(link, time, cell(entry.type || entry.kind), cell(entry.subject || entry.topic));
    list.prepend(row);
    while (list.children.length > 200) list.lastElementChild.remove();
  };
}

function cell(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span;
}

// -- inclusion proof: RFC 6962 hashing, C2SP signed note, Ed25519

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const same = (a, b) => hexOf(a) === hexOf(b);

async function sha256(...parts) {
  const whole = new Uint8Array(await new Blob(parts).arrayBuffer());
  return new Uint8Array(await crypto.subtle.digest("SHA-256", whole));
}

async function rootFrom(leafHash, index, size, path) {
  let hash = leafHash, node = BigInt(index), last = BigInt(size) - 1n;
  for (const sibling of path) {
    if (last === 0n) throw new Error("the path is too long");
    if (node & 1n || node === last) {
      hash = await sha256(Uint8Array.of(1), sibling, hash);
      while (!(node & 1n) && node !== 0n) { node >>= 1n; last >>= 1n; }
    } else {
      hash = await sha256(Uint8Array.of(1), hash, sibling);
    }
    node >>= 1n; last >>= 1n;
  }
  if (last !== 0n) throw new Error("the path is too short");
  return hash;
}

function readNote(note) {
  const end = note.lastIndexOf("\n\n");
  const text = note.slice(0, end + 1);
  const [origin, size, root] = text.split("\n");
  const signatures = note.slice(end + 2).split("\n").filter((line) => line.startsWith("— "))
    .map((line) => { const [, name, blob] = line.split(" "); return { name, blob: bytesOf(blob) }; });
  return { text, origin, size: Number(size), root: bytesOf(root), signatures };
}

async function signedBy(note, verifierKey) {
  const [name, keyHash] = verifierKey.split("+", 2);
  const key = bytesOf(verifierKey.slice(name.length + keyHash.length + 2));
  const id = (await sha256(new TextEncoder().encode(name + "\n"), key)).slice(0, 4);
  if (hexOf(id) !== keyHash || key[0] !== 1) return false;
  const signature = note.signatures.find((each) => each.name === name && same(each.blob.slice(0, 4), id));
  if (!signature) return false;
  const publicKey = await crypto.subtle.importKey("raw", key.slice(1), { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify("Ed25519", publicKey, signature.blob.slice(4), new TextEncoder().encode(note.text));
}

// What a leaf commits to: a seed, then key, headers and value, each bound by a commitment of its own.

const LABEL = "portalkeeper/audit/v1/";

function readVarint(raw, at) {
  let number = 0, factor = 1;
  for (;;) {
    const byte = raw[at++];
    if (byte === undefined) throw new Error("the opening is cut off");
    number += (byte & 127) * factor;
    if (byte < 128) return [number, at];
    factor *= 128;
  }
}

async function openLeaf(leaf, opening) {
  const encoder = new TextEncoder(), text = new TextDecoder();
  if (opening[0] !== 1) throw new Error("the opening is of an unknown version");
  let [length, at] = readVarint(opening, 17);
  const key = opening.slice(at, at + length);
  [length, at] = readVarint(opening, at + length);
  const headers = opening.slice(at, at + length), value = opening.slice(at + length);
  const seeded = await new Blob([encoder.encode(LABEL + "nonces\n"), opening.slice(1, 17)]).arrayBuffer();
  const nonces = new Uint8Array(await crypto.subtle.digest("SHA-512", seeded));
  let bound = true;
  for (const [number, [name, part]] of [["key", key], ["headers", headers], ["value", value]].entries()) {
    const nonce = nonces.slice(16 * number, 16 * number + 16);
    const digest = await sha256(encoder.encode(LABEL + name + "\n"), nonce, part);
    bound = bound && same(digest, bytesOf(leaf[name]));
  }
  const named = {};
  for (at = 0; at < headers.length;) {
    [length, at] = readVarint(headers, at);
    const name = text.decode(headers.slice(at, at + length));
    [length, at] = readVarint(headers, at + length);
    named[name] = length ? text.decode(headers.slice(at, at + length - 1)) : null;
    at += Math.max(0, length - 1);
  }
  return { bound, key: key[0] ? text.decode(key.slice(1)) : null, headers: named, value: value[0] ? value.slice(1) : null };
}

const shape = (document) => JSON.stringify(document);

function showsThis(record) {
  const shown = document.getElementById("payload");
  if (!shown) return false;
  let said = null;
  if (record.value !== null) {
    try {
      said = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(record.value));
    } catch {
      said = btoa(String.fromCharCode(...record.value));
    }
  }
  const headers = document.getElementById("headers");
  const around = !headers || shape(JSON.parse(headers.textContent)) === shape({ key: record.key, headers: record.headers });
  return around && shape(JSON.parse(shown.textContent)) === shape(said);
}

async function checkProof(box) {
  const verdict = box.querySelector(".verdict");
  const say = (text, outcome) => { verdict.textContent = text; verdict.className = "verdict " + outcome; };
  const mark = (name, outcome, detail) => {
    const line = box.querySelector(`[data-check="${name}"]`);
    line.className = outcome ? "passed" : "failed";
    if (detail) line.querySelector(".detail").textContent = detail;
    return outcome;
  };
  if (!globalThis.crypto || !crypto.subtle) {
    return say("This browser offers no cryptography here. Use: portalkeeper audit verify", "");
  }
  const answer = await fetch(box.dataset.proof, { headers: { Accept: "application/json" } });
  if (answer.status === 409) {
    say("This entry is newer than the last signed checkpoint. Checking again in two seconds…", "");
    return setTimeout(() => checkProof(box).catch((error) => say(String(error), "failed")), 2000);
  }
  if (!answer.ok) return say("The audit log did not give a proof: " + (await answer.json()).detail, "failed");
  const proof = await answer.json();
  const note = readNote(proof.checkpoint);
  // What is proved must be what the page shows, so the leaf is taken from the page.
  const shown = document.getElementById("leaf").textContent;
  const leafHash = await sha256(Uint8Array.of(0), new TextEncoder().encode(shown));
  const asked = proof.index === Number(box.dataset.index) && proof.leaf === shown;
  const leafRight = mark("leaf", asked && same(leafHash, bytesOf(proof.leaf_hash)), hexOf(leafHash));
  let payloadRight = true;
  if (proof.opening) {
    const record = await openLeaf(JSON.parse(shown), bytesOf(proof.opening));
    payloadRight = mark("payload", record.bound && showsThis(record));
  } else {
    box.querySelector('[data-check="payload"] .count').textContent = "(there is nothing to compare)";
    payloadRight = !document.getElementById("payload");
  }
  const root = await rootFrom(leafHash, proof.index, note.size, proof.hashes.map(bytesOf));
  const rootRight = mark("root", same(root, note.root), hexOf(root));
  box.querySelector("[data-check=root] .count").textContent = `${proof.hashes.length} hashes, log of ${note.size} entries`;
  let signed;
  try {
    signed = mark("signature", await signedBy(note, proof.public_key), proof.public_key);
  } catch (error) {
    if (error.name !== "NotSupportedError") throw error;
    box.querySelector("[data-check=signature] .detail").textContent = "This browser does not know Ed25519.";
    return say("The entry is in the log that the checkpoint describes; who signed the checkpoint could not be checked here. Use: portalkeeper audit verify", "");
  }
  if (!payloadRight) say("NOT verified: what is shown here is not what was recorded. Tell compliance now.", "failed");
  else if (leafRight && rootRight && signed) say("Verified in this page: the entry is in the signed log, unaltered.", "passed");
  else say("NOT verified: this entry does not match the signed log. Tell compliance now.", "failed");
}

// -- a part of a page that keeps up to date until it is done; nothing to click is inside

const LIVE_MS = 2000;

function keepUpToDate(box) {
  if (box.dataset.live === "done") return;
  setTimeout(async () => {
    let current = box;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(box.id);
      if (answer.ok && fresh && fresh.innerHTML !== box.innerHTML) {
        current = document.importNode(fresh, true);
        box.replaceWith(current);
      }
    } catch { /* Whoever looks sees the state as of the last answer; the next attempt may succeed. */ }
    keepUpToDate(current);
  }, LIVE_MS);
}

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
for (const box of document.querySelectorAll("[data-live]")) keepUpToDate(box);
for (const box of document.querySelectorAll("[data-stream]")) startTail(box);
for (const box of document.querySelectorAll("[data-proof]")) {
  checkProof(box).catch((error) => {
    const verdict = box.querySelector(".verdict");
    verdict.textContent = "The proof could not be checked: " + error.message;
    verdict.className = "verdict failed";
  });
}
