"""Merkle trees of RFC 6962 (section 2.1): hashes, roots, inclusion and consistency proofs.

Verification follows the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2. Hashes are SHA-256.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


class ProofError(Exception):
    """A proof or root that does not show what it claims."""


@dataclass(frozen=True, slots=True)
class Subtree:
    """The perfect subtree over the leaves `[index << level, (index + 1) << level)`."""

    level: int
    index: int


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of one leaf's bytes."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 2**n hashes of one level; 256 of them are a full tile."""
    sha256 = hashlib.sha256
    level = list(hashes)
    while len(level) > 1:
        pairs = iter(level)
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs)]  # noqa: B905
    return level[0]


def fold_right(hashes: Iterable[bytes]) -> bytes:
    """The root over adjacent perfect subtrees, given from the largest (leftmost) to the smallest.

    No hashes at all give the root of the empty tree.
    """
    ordered = list(hashes)
    if not ordered:
        return EMPTY_ROOT
    root = ordered[-1]
    for left in reversed(ordered[:-1]):
        root = node_hash(left, root)
    return root


def root_over(hashes: Sequence[bytes]) -> bytes:
    """The root over any number of leaf hashes."""
    frontier = Frontier.empty()
    frontier.extend(hashes)
    return frontier.root()


class Frontier:
    """A tree reduced to what appending needs: the roots of its perfect subtrees, largest first.

    For a size of n these are popcount(n) hashes, however many entries the log has.
    """

    __slots__ = ("hashes", "size")

    def __init__(self, size: int, hashes: list[bytes]) -> None:
        if size < 0 or len(hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} has {size.bit_count()} subtrees, not {len(hashes)}")
        self.size = size
        self.hashes = hashes

    @classmethod
    def empty(cls) -> "Frontier":
        """The tree without entries."""
        return cls(0, [])

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Append leaf hashes: on average two hashings each."""
        sha256 = hashlib.sha256
        stack, size = self.hashes, self.size
        for current in leaf_hashes:
            bits = size
            while bits & 1:
                current = sha256(b"\x01" + stack.pop() + current).digest()
                bits >>= 1
            stack.append(current)
            size += 1
        self.size = size

    def append_subtrees(self, following: "Frontier") -> None:
        """Append a tree that was hashed apart: on average one hashing.

        Raises:
            ValueError: this tree's size is not a multiple of the other's, rounded up to a power
                of two, so that the other's subtrees are none of the whole.
        """
        if not following.size:
            return
        width = 1 << (following.size - 1).bit_length()
        if self.size % width:
            raise ValueError(f"a tree of {following.size} cannot follow one of {self.size}")
        if following.size < width:
            self.hashes = self.hashes + following.hashes
            self.size += following.size
            return
        current, bits = following.hashes[0], self.size // width
        stack = self.hashes
        while bits & 1:
            current = node_hash(stack.pop(), current)
            bits >>= 1
        stack.append(current)
        self.size += width

    def root(self) -> bytes:
        """The root of the tree as it stands."""
        return fold_right(self.hashes)


def subtrees(start: int, end: int) -> list[Subtree]:
    """The perfect subtrees that cover the leaves `[start, end)`, from left to right.

    `start` must be a multiple of the range's size rounded up to a power of two, as it is wherever
    a Merkle tree splits; the subtrees then shrink from left to right.
    """
    covered = []
    while start < end:
        level = (end - start).bit_length() - 1
        covered.append(Subtree(level, start >> level))
        start += 1 << level
    return covered


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_path(index: int, size: int) -> list[list[Subtree]]:
    """For each hash of an inclusion proof, leaf upwards, the subtrees it is folded from.

    Raises:
        ValueError: the index lies outside the tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"there is no entry {index} in a tree of {size}")
    path: list[list[Subtree]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(subtrees(middle, end))
            end = middle
        else:
            path.append(subtrees(start, middle))
            start = middle
    path.reverse()
    return path


def consistency_path(old: int, new: int) -> list[list[Subtree]]:
    """For each hash of a consistency proof, the subtrees it is folded from.

    Raises:
        ValueError: not `0 <= old <= new`.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} cannot be a prefix of a tree of {new}")
    if old in (0, new):
        return []
    path: list[list[Subtree]] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(subtrees(middle, end))
            end = middle
        else:
            path.append(subtrees(start, middle))
            start, whole = middle, False
    if not whole:
        path.append(subtrees(start, end))
    path.reverse()
    return path


def fold_path(path: Iterable[list[Subtree]], hash_of: Callable[[Subtree], bytes]) -> list[bytes]:
    """The hashes of a proof, given where to find the hash of each subtree."""
    return [fold_right(hash_of(subtree) for subtree in part) for part in path]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf hash `leaf` is entry `index` of the tree with this size and root.

    Raises:
        ProofError: it is not shown.
    """
    if not 0 <= index < size:
        raise ProofError(f"there is no entry {index} in a tree of {size}")
    position, last, current = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof is too long")
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            current = node_hash(current, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise ProofError("the inclusion proof is too short")
    if current != root:
        raise ProofError(f"entry {index} is not what the root of size {size} contains")


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check that the tree of size `old` is a prefix of the tree of size `new`.

    Raises:
        ProofError: it is not shown.
    """
    if not 0 <= old <= new:
        raise ProofError(f"the log shrank from {old} to {new}")
    if old in (0, new):
        if proof:
            raise ProofError("the consistency proof is too long")
        if old_root != (new_root if old == new else EMPTY_ROOT):
            raise ProofError(f"two trees of size {old} differ")
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise ProofError("the consistency proof is too short")
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    from_old = from_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("the consistency proof is too long")
        if position & 1 or position == last:
            from_old = node_hash(sibling, from_old)
            from_new = node_hash(sibling, from_new)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            from_new = node_hash(from_new, sibling)
        position >>= 1
        last >>= 1
    if last != 0:
        raise ProofError("the consistency proof is too short")
    if from_old != old_root or from_new != new_root:
        raise ProofError(f"the tree of size {old} is not a prefix of the tree of size {new}")
