"""What leaves say, in canonical JSON, and that they bind exactly what was recorded."""

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from shared.tlog.leaf import (
    MAX_LEAF_BYTES,
    SEED_BYTES,
    GapLeaf,
    LeafError,
    Opening,
    RecordLeaf,
    check_origin,
    claims,
    commit,
    encode_record,
    parse_leaf,
)

ORIGIN = "portalkeeper.local/audit"
maybe_bytes = st.none() | st.binary(max_size=400)
headers_of_any_kind = st.lists(
    st.tuples(st.text(st.characters(codec="utf-8"), max_size=40), maybe_bytes), max_size=8
)


def leaf_of(
    key: bytes | None,
    headers: list[tuple[str, bytes | None]],
    value: bytes | None,
    seed: bytes = bytes(SEED_BYTES),
) -> tuple[RecordLeaf, bytes]:
    commitments, opening = commit(seed, key, headers, value)
    raw = encode_record(
        ORIGIN, "hr.worker-events.v1", 3, 17, 1_772_438_400_000, claims(dict(headers), value),
        commitments,
    )  # fmt: skip
    leaf = parse_leaf(raw)
    assert isinstance(leaf, RecordLeaf)
    return leaf, opening


@given(maybe_bytes, headers_of_any_kind, maybe_bytes, st.binary(min_size=16, max_size=16))
def test_an_opening_reads_back_and_fits_its_leaf(
    key: bytes | None, headers: list[tuple[str, bytes | None]], value: bytes | None, seed: bytes
) -> None:
    leaf, raw = leaf_of(key, headers, value, seed)
    opening = Opening.decode(raw)
    assert (opening.key, list(opening.headers), opening.value) == (key, headers, value)
    opening.check(leaf)


@given(maybe_bytes, headers_of_any_kind, maybe_bytes)
def test_every_leaf_is_canonical_json_of_strings(
    key: bytes | None, headers: list[tuple[str, bytes | None]], value: bytes | None
) -> None:
    for leaf in (leaf_of(key, headers, value)[0], GapLeaf(ORIGIN, "t", 0, 4, 9)):
        raw = leaf.encode()
        document = orjson.loads(raw)
        assert rfc8785.dumps(document) == raw
        assert all(isinstance(text, str) for text in document.values())
        assert len(raw) <= MAX_LEAF_BYTES
        assert parse_leaf(raw) == leaf


def test_the_longest_leaf_is_within_the_limit() -> None:
    headers: list[tuple[str, bytes | None]] = [
        ("ce_organization", b"o" * 100),
        ("ce_type", b"t" * 100),
    ]
    commitments, _ = commit(bytes(16), None, headers, None)
    raw = encode_record(
        "o" * 200, "t" * 249, 2**31 - 1, 2**63 - 1, 2**63 - 1, claims(dict(headers), None),
        commitments,
    )  # fmt: skip
    assert len(raw) <= MAX_LEAF_BYTES
    assert isinstance(parse_leaf(raw), RecordLeaf)


@pytest.mark.parametrize("part", ["key", "headers", "value"])
def test_each_part_is_bound_by_its_own_commitment(part: str) -> None:
    record: dict[str, object] = {"key": b"k", "headers": [("h", b"1")], "value": b"v"}
    other: dict[str, object] = {"key": None, "headers": [("h", None)], "value": b""}
    leaf, _ = leaf_of(**record)  # type: ignore[arg-type]
    _, changed = leaf_of(**{**record, part: other[part]})  # type: ignore[arg-type]
    with pytest.raises(LeafError, match=f"payload's {part}"):
        Opening.decode(changed).check(leaf)


def test_null_and_empty_are_different() -> None:
    assert leaf_of(None, [], None)[0].key != leaf_of(b"", [], None)[0].key
    assert leaf_of(None, [], None)[0].value != leaf_of(None, [], b"")[0].value
    assert (
        leaf_of(None, [("a", None)], None)[0].headers
        != leaf_of(None, [("a", b"")], None)[0].headers
    )


def test_the_same_record_gives_another_leaf_with_another_seed() -> None:
    first, _ = leaf_of(b"k", [], b"v", bytes(16))
    second, _ = leaf_of(b"k", [], b"v", b"\x01" * 16)
    assert first.value != second.value


def test_claims_are_empty_unless_plain() -> None:
    for wrong in (b"Worker", b"", b"a b", b'a"b', b"\xff", b"x" * 101, "ä".encode()):
        assert claims({"ce_type": wrong, "ce_organization": wrong}, None) == ("", "")
    structured: dict[str, bytes | None] = {"content-type": b"application/cloudevents+json"}
    assert claims(structured, b'{"type":"a.b","organization":"o"}') == ("o", "a.b")
    for value in (None, b"", b"[1]", b"{", b'{"type":1}', b"[" * 100_000):
        assert claims(structured, value) == ("", "")


def test_a_claim_that_does_not_follow_from_the_payload_is_found() -> None:
    headers: list[tuple[str, bytes | None]] = [("ce_type", b"worker.hired")]
    commitments, raw = commit(bytes(16), None, headers, None)
    leaf = parse_leaf(encode_record(ORIGIN, "t", 0, 0, 0, ("", "worker.terminated"), commitments))
    assert isinstance(leaf, RecordLeaf)
    with pytest.raises(LeafError, match="organization or type"):
        Opening.decode(raw).check(leaf)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b'"a"',
        b"{}",
        b'{"kind":"gap"}',
        b"\xff",
        b" " + GapLeaf(ORIGIN, "t", 0, 4, 9).encode(),
        GapLeaf(ORIGIN, "t", 0, 4, 9).encode().replace(b'"4"', b'"04"'),
        GapLeaf(ORIGIN, "t", 0, 4, 9).encode().replace(b'"4"', b"4"),
        b"{" + b" " * MAX_LEAF_BYTES + b"}",
    ],
)
def test_what_is_not_exactly_a_leaf_is_refused(raw: bytes) -> None:
    with pytest.raises(LeafError):
        parse_leaf(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_opening_or_refused(raw: bytes) -> None:
    for candidate in (raw, b"\x01" + raw):
        try:
            Opening.decode(candidate)
        except LeafError:
            continue


@pytest.mark.parametrize("origin", ["", "/a", "a/", "A", "a b", 'a"', "ä", "a+b"])
def test_an_origin_that_could_break_a_leaf_or_note_is_refused(origin: str) -> None:
    with pytest.raises(LeafError):
        check_origin(origin)
