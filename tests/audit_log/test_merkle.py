"""Merkle arithmetic against published vectors and against the definition, for all sizes to 300.

The vectors are those of Certificate Transparency's reference implementation (merkle_tree_test.cc),
kept today in `testonly/constants.go` of the transparency-dev/merkle project.
"""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.tlog.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofError,
    Subtree,
    consistency_path,
    fold_path,
    inclusion_path,
    leaf_hash,
    root_over,
    verify_consistency,
    verify_inclusion,
)

SIZES = 300
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(text)
    for text in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
INCLUSION_OF_5_IN_8 = [
    bytes.fromhex(text)
    for text in (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    )
]
CONSISTENCY_OF_6_WITH_8 = [
    bytes.fromhex(text)
    for text in (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    )
]
HASHES = [leaf_hash(number.to_bytes(2, "big")) for number in range(SIZES)]


def tree_hash(hashes: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not hashes:
        return EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + tree_hash(hashes[:split]) + tree_hash(hashes[split:])).digest()


EXPECTED_ROOTS = [tree_hash(HASHES[:size]) for size in range(SIZES + 1)]


def hash_of(subtree: Subtree) -> bytes:
    start = subtree.index << subtree.level
    return tree_hash(HASHES[start : start + (1 << subtree.level)])


def prove_inclusion(index: int, size: int) -> list[bytes]:
    return fold_path(inclusion_path(index, size), hash_of)


def prove_consistency(old: int, new: int) -> list[bytes]:
    return fold_path(consistency_path(old, new), hash_of)


def test_the_published_roots_are_computed() -> None:
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    assert [root_over(hashes[:size]) for size in range(9)] == ROOTS


def test_the_published_proofs_are_computed_and_accepted() -> None:
    hashes = [leaf_hash(leaf) for leaf in LEAVES]

    def published(subtree: Subtree) -> bytes:
        start = subtree.index << subtree.level
        return tree_hash(hashes[start : start + (1 << subtree.level)])

    assert fold_path(inclusion_path(5, 8), published) == INCLUSION_OF_5_IN_8
    assert fold_path(consistency_path(6, 8), published) == CONSISTENCY_OF_6_WITH_8
    verify_inclusion(hashes[5], 5, 8, INCLUSION_OF_5_IN_8, ROOTS[8])
    verify_consistency(6, 8, CONSISTENCY_OF_6_WITH_8, ROOTS[6], ROOTS[8])


def test_a_frontier_has_the_root_of_every_size() -> None:
    frontier = Frontier.empty()
    for size, expected in enumerate(EXPECTED_ROOTS):
        assert frontier.root() == expected
        assert frontier.size == size
        frontier.extend(HASHES[size : size + 1])


def test_every_entry_of_every_size_can_be_proven() -> None:
    for size in range(1, SIZES + 1):
        for index in range(0, size, 1 if size < 70 else 13):
            proof = prove_inclusion(index, size)
            verify_inclusion(HASHES[index], index, size, proof, EXPECTED_ROOTS[size])


def test_every_size_is_a_prefix_of_every_larger_one() -> None:
    for new in range(SIZES + 1):
        for old in range(0, new + 1, 1 if new < 70 else 13):
            proof = prove_consistency(old, new)
            verify_consistency(old, new, proof, EXPECTED_ROOTS[old], EXPECTED_ROOTS[new])


@given(st.integers(1, SIZES), st.data())
def test_a_changed_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = prove_inclusion(index, size)
    other = data.draw(st.integers(0, SIZES - 1).filter(lambda number: number != index))
    with pytest.raises(ProofError):
        verify_inclusion(HASHES[other], index, size, proof, EXPECTED_ROOTS[size])
    with pytest.raises(ProofError):
        verify_inclusion(HASHES[index], index, size, [*proof, bytes(32)], EXPECTED_ROOTS[size])
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        with pytest.raises(ProofError):
            verify_inclusion(
                HASHES[index],
                index,
                size,
                proof[:place] + proof[place + 1 :],
                EXPECTED_ROOTS[size],
            )


@given(st.integers(2, SIZES), st.data())
def test_another_history_is_never_consistent(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    proof = prove_consistency(old, new)
    with pytest.raises(ProofError):
        verify_consistency(old, new, proof, bytes(32), EXPECTED_ROOTS[new])
    with pytest.raises(ProofError):
        verify_consistency(old, new, proof, EXPECTED_ROOTS[old], bytes(32))
    with pytest.raises(ProofError):
        verify_consistency(new, old, proof, EXPECTED_ROOTS[new], EXPECTED_ROOTS[old])
    with pytest.raises(ProofError):
        verify_consistency(old, new, [*proof, bytes(32)], EXPECTED_ROOTS[old], EXPECTED_ROOTS[new])


def test_a_frontier_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="subtrees"):
        Frontier(3, [bytes(32)])
