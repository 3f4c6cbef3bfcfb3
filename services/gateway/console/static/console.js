// The two things a page cannot do without script: follow the log live, and check a proof itself.

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
  if (leafRight && rootRight && signed) say("Verified in this page: the entry is in the signed log, unaltered.", "passed");
  else say("NOT verified: this entry does not match the signed log. Tell compliance now.", "failed");
}

for (const box of document.querySelectorAll("[data-stream]")) startTail(box);
for (const box of document.querySelectorAll("[data-proof]")) {
  checkProof(box).catch((error) => {
    const verdict = box.querySelector(".verdict");
    verdict.textContent = "The proof could not be checked: " + error.message;
    verdict.className = "verdict failed";
  });
}
