#!/usr/bin/env python3
"""Checks what a Portalkeeper audit log says, without trusting whoever handed it over.

    python verify_audit_log.py PACKAGE --key KEY [--earlier CHECKPOINT]

PACKAGE is an evidence package (ZIP or folder), a folder with a whole exported log, or one
`.tlog-proof` file. KEY is the log's public key, `name+id+base64`: have it from an earlier day or
from somebody else than the one who gave you the package; without --key the package's own is used,
and then you only learn that it agrees with itself. For a whole log that follows another, KEY may be
the key of the one before. CHECKPOINT is a file with a signed checkpoint that you kept: a whole log
must continue it.

Needs Python 3.10 and the package `cryptography`, and nothing else. WHAT-IT-PROVES.md beside this
file says what a good answer means and what not. Exit status: 0 good, 1 wrong, 2 cannot be checked.
"""

import argparse
import base64
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TILE = 256
LABEL = b"portalkeeper/audit/v1/"
NEXT_LOG = "portalkeeper audit log: next log"


class Wrong(Exception):
    """Something does not hold."""


# -- Merkle trees: RFC 6962, section 2.1


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return sha256(b"\x01" + left + right)


def root_from_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root that a leaf hash and its inclusion path lead to: RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size:
        raise Wrong(f"there is no entry {index} in a log of {size}")
    node, last, current = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise Wrong("the path is too long")
        if node & 1 or node == last:
            current = node_hash(sibling, current)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise Wrong("the path is too short")
    return current


class Tree:
    """A tree that grows leaf by leaf; it keeps the roots of its perfect subtrees only."""

    def __init__(self) -> None:
        self.size = 0
        self.subtrees: list[bytes] = []

    def append(self, current: bytes) -> None:
        """Append a leaf hash."""
        bits = self.size
        while bits & 1:
            current = node_hash(self.subtrees.pop(), current)
            bits >>= 1
        self.subtrees.append(current)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves."""
        if not self.subtrees:
            return sha256(b"")
        root = self.subtrees[-1]
        for left in reversed(self.subtrees[:-1]):
            root = node_hash(left, root)
        return root


# -- signed checkpoints: C2SP signed-note and tlog-checkpoint


def open_note(note: str, key: str) -> list[str]:
    """The lines of a note that the key has signed."""
    name, key_id, encoded = key.strip().split("+", 2)
    public = base64.b64decode(encoded)
    if public[:1] != b"\x01" or sha256(name.encode() + b"\n" + public)[:4].hex() != key_id:
        raise Wrong("the key is malformed: its id does not fit")
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        dash, signer, blob = line.split(" ")
        raw = base64.b64decode(blob)
        if (dash, signer, raw[:4].hex()) == ("\u2014", name, key_id):
            try:
                Ed25519PublicKey.from_public_bytes(public[1:]).verify(raw[4:], text.encode())
            except InvalidSignature:
                raise Wrong(f"the signature of {name} is wrong") from None
            return text.split("\n")
    raise Wrong(f"the checkpoint is not signed by the key {key}")


def open_checkpoint(note: str, key: str) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint that the key has signed."""
    origin, size, root = open_note(note, key)[:3]
    if origin != key.partition("+")[0]:
        raise Wrong(f"the key is not that of {origin}, which the checkpoint is about")
    return origin, int(size), base64.b64decode(root)


def look_back(first: dict[str, str], key: str) -> tuple[str, str]:
    """By which key a log is signed whose first leaf this is, and what it says of the log before.

    A log that follows another carries its last checkpoint, and a note in which the key of the one
    before names the key of the one after: whoever trusts the former may trust the latter.
    """
    if first.get("kind") != "succession":
        return key, ""
    checkpoint = base64.b64decode(first["checkpoint"]).decode()
    origin, size = checkpoint.split("\n")[:2]
    if "statement" not in first:
        return key, f" It follows {origin} of {size} entries, no key of which names this one's."
    statement = base64.b64decode(first["statement"]).decode()
    title, before, after = statement.split("\n")[:3]
    open_note(statement, before)
    open_checkpoint(checkpoint, before)
    if title != NEXT_LOG or after.partition("+")[0] != first["origin"]:
        raise Wrong("entry 0: what the key of the log before names is another log")
    told = f" It follows {origin} of {size} entries, whose key names this one's: {before}"
    return after if key == before else key, told


# -- what a leaf commits to


def varint(raw: bytes, at: int) -> tuple[int, int]:
    """A little-endian base-128 number, and where it ends."""
    number = shift = 0
    while True:
        byte = raw[at]
        number, shift, at = number | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return number, at


def check_opening(leaf: dict[str, str], opening: bytes) -> dict[str, Any]:
    """The record's key, headers and value, once each is what the leaf commits to.

    An opening is: version 1, a seed of 16 bytes, then key and headers behind their lengths, then
    the value. Key and value begin with a byte that tells null (0) from present (1).
    """
    if opening[:1] != b"\x01":
        raise Wrong("the opening is of an unknown version")
    seed = opening[1:17]
    length, at = varint(opening, 17)
    key, at = opening[at : at + length], at + length
    length, at = varint(opening, at)
    headers, value = opening[at : at + length], opening[at + length :]
    nonces = hashlib.sha512(LABEL + b"nonces\n" + seed).digest()
    for number, (name, part) in enumerate((("key", key), ("headers", headers), ("value", value))):
        nonce = nonces[16 * number : 16 * number + 16]
        digest = sha256(LABEL + name.encode() + b"\n" + nonce + part)
        if base64.b64encode(digest).decode() != leaf[name]:
            raise Wrong(f"the {name} is not what the leaf commits to")
    named, at = {}, 0
    while at < len(headers):
        length, at = varint(headers, at)
        name, at = headers[at : at + length].decode(), at + length
        length, at = varint(headers, at)
        end = at + max(0, length - 1)
        named[name], at = (headers[at:end].decode("utf-8", "replace") if length else None), end
    shown = value[1:].decode("utf-8", "replace") if value[:1] == b"\x01" else None
    return {"key": key[1:].decode("utf-8", "replace"), "headers": named, "value": shown}


# -- one proof, a package of proofs, a whole log


def check_proof(text: str, key: str, leaf: bytes | None = None) -> tuple[int, bytes, int]:
    """Index, leaf and log size of a proof in the format C2SP tlog-proof."""
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")
    if lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise Wrong("this is no tlog-proof")
    if lines[0].startswith("extra "):
        extra = base64.b64decode(lines.pop(0).removeprefix("extra "))
        leaf = extra if leaf is None else leaf
    if leaf is None:
        raise Wrong("the proof does not say what it proves")
    index = int(lines.pop(0).removeprefix("index "))
    _, size, root = open_checkpoint(note, key)
    path = [base64.b64decode(line) for line in lines]
    if root_from_path(leaf_hash(leaf), index, size, path) != root:
        raise Wrong("the path does not lead to the checkpoint's root")
    return index, leaf, size


def check_package(root: Any, key: str) -> str:
    """Every entry of an evidence package: its proof, and its payload where there is one."""
    proved = opened = 0
    for line in (root / "entries.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        index = entry["index"]
        try:
            leaf = entry["leaf"].encode()
            proof = (root / "proofs" / f"{index}.tlog-proof").read_text("utf-8")
            if check_proof(proof, key, leaf)[0] != index:
                raise Wrong("the proof is another entry's")
            proved += 1
            if entry.get("opening"):
                said = check_opening(json.loads(leaf), base64.b64decode(entry["opening"]))
                if said["value"] != entry["value"] or said["headers"] != entry["headers"]:
                    raise Wrong("the package shows something else than the leaf commits to")
                opened += 1
        except (Wrong, KeyError, ValueError, IndexError) as error:
            raise Wrong(f"entry {index}: {error}") from error
    return f"{proved} entries are in the signed log; {opened} are shown as they were recorded."


def check_log(root: Any, key: str, earlier: str | None) -> str:
    """A whole log: every leaf, the root, offsets without a hole, payloads where there are any."""
    note = (root / "checkpoint").read_text("utf-8")
    first = next(read_leaves(root, int(note.split("\n")[1])), b"{}")
    key, before = look_back({} if isinstance(first, Pruned) else json.loads(first), key)
    _, size, signed_root = open_checkpoint(note, key)
    pruned = 0
    kept = open_checkpoint(earlier, key) if earlier else None
    tree, next_offset, openings, opened = Tree(), dict[Any, int](), read_openings(root), 0
    shown = next(openings, None)
    for index, leaf in enumerate(read_leaves(root, size)):
        if kept and kept[1] == index and tree.root() != kept[2]:
            raise Wrong(f"the first {index} entries are not those of the earlier checkpoint")
        if isinstance(leaf, Pruned):
            tree.append(bytes(leaf))
            pruned += 1
            continue
        tree.append(leaf_hash(leaf))
        fields = json.loads(leaf)
        if fields["kind"] != "succession":
            place, offset = (fields["topic"], fields["partition"]), int(fields["offset"])
            last = int(fields.get("last", offset))
            # A gap that ends before it begins says that a partition begins anew.
            if last >= offset and next_offset.get(place, offset) != offset:
                raise Wrong(f"entry {index}: offset {offset} does not follow in {place}")
            next_offset[place] = last + 1
        while shown and shown["index"] < index:
            shown = next(openings, None)
        if shown and shown["index"] == index and "opening" in shown:
            try:
                check_opening(fields, base64.b64decode(shown["opening"]))
            except (Wrong, IndexError) as error:
                raise Wrong(f"entry {index}: {error}") from error
            opened += 1
    if tree.size != size:
        raise Wrong(f"entry {tree.size} is missing: the checkpoint is about {size}")
    if tree.root() != signed_root:
        raise Wrong("the entries do not have the root that was signed")
    if kept and (kept[1] > size or (kept[1] == size and kept[2] != signed_root)):
        raise Wrong(f"the earlier checkpoint of {kept[1]} entries is not continued")
    left = f" Of {pruned} that were pruned only the hashes are left." if pruned else ""
    return (
        f"All {size} entries are what was signed; {opened} payloads are what they commit to."
        f"{left}{before}"
    )


class Pruned(bytes):
    """The hash of an entry that the log was pruned of."""


def read_leaves(root: Any, size: int) -> Iterator[bytes]:
    """The leaves in order, out of the entry bundles of C2SP tlog-tiles."""
    for start in range(0, size, TILE):
        number, width = start // TILE, min(TILE, size - start)
        digits = f"{number:012}".lstrip("0").zfill(3)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        path, tile = root / "tile" / "entries", root / "tile" / "0"
        for group in groups[:-1]:
            path, tile = path / f"x{group}", tile / f"x{group}"
        partial = path / f"{groups[-1]}.p" / str(width)
        path = path / groups[-1] if width == TILE else partial
        if width == TILE and not path.is_file():
            hashes = (tile / groups[-1]).read_bytes()
            yield from (Pruned(hashes[at : at + 32]) for at in range(0, len(hashes), 32))
            continue
        bundle, at = path.read_bytes(), 0
        while at < len(bundle):
            length = int.from_bytes(bundle[at : at + 2], "big")
            yield bundle[at + 2 : at + 2 + length]
            at += 2 + length


def read_openings(root: Any) -> Iterator[dict[str, Any]]:
    """What the leaves commit to, as far as it was exported."""
    if (root / "openings.jsonl").is_file():
        with (root / "openings.jsonl").open("rb") as file:
            for line in file:
                yield json.loads(line)


def main() -> int:
    """Check what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--key", help="the log's public key, name+id+base64")
    parser.add_argument("--earlier", type=Path, help="a signed checkpoint that you kept")
    given = parser.parse_args()
    try:
        if given.package.suffix == ".tlog-proof":
            if not given.key:
                print("A single proof needs --key.", file=sys.stderr)
                return 2
            index, leaf, size = check_proof(given.package.read_text("utf-8"), given.key)
            print(f"GOOD. Entry {index} of {size} is in the signed log:\n{leaf.decode()}")
            return 0
        zipped = given.package.is_file()
        root: Any = zipfile.Path(given.package) if zipped else given.package
        key = given.key or (root / "key.txt").read_text("utf-8").strip()
        if (root / "entries.jsonl").is_file():
            found = check_package(root, key)
        else:
            earlier = given.earlier.read_text("utf-8") if given.earlier else None
            found = check_log(root, key, earlier)
    except Wrong as wrong:
        print(f"WRONG. {wrong}")
        return 1
    except (OSError, KeyError, ValueError, IndexError) as error:
        print(f"This cannot be checked: {error!r}", file=sys.stderr)
        return 2
    print(f"GOOD. {found}\nKey: {key}")
    if not given.key:
        print("The key came with the package: compare it with one that you know otherwise.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
