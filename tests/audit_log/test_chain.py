"""Growing tiles batch by batch gives the tree of RFC 6962, and proofs can be folded from them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit_log.rules.chain import (
    edge_root,
    event_names,
    grow,
    keyholder,
    subtree_hash,
    tiles_for,
)
from shared.tlog.merkle import (
    consistency_path,
    fold_path,
    inclusion_path,
    leaf_hash,
    root_over,
    verify_consistency,
    verify_inclusion,
)
from shared.tlog.tiles import (
    Tile,
    pack_entries,
    parse_tile_path,
    tile_path,
    unpack_entries,
)

HASHES = [leaf_hash(number.to_bytes(4, "big")) for number in range(70_000)]


class Log:
    """Tiles as the database keeps them."""

    def __init__(self) -> None:
        self.size = 0
        self.full: dict[Tile, bytes] = {}
        self.edges: dict[int, tuple[int, bytes]] = {}

    def append(self, count: int) -> None:
        edges = {level: hashes for level, (_, hashes) in self.edges.items()}
        growth = grow(self.size, edges, HASHES[self.size : self.size + count])
        for tile, hashes in growth.full:
            assert tile not in self.full
            self.full[tile] = hashes
        for tile, hashes in growth.edges:
            self.edges[tile.level] = (tile.index, hashes)
        self.size += count

    def root(self) -> bytes:
        return edge_root(self.size, {level: hashes for level, (_, hashes) in self.edges.items()})

    def tiles(self) -> dict[Tile, bytes]:
        edges = {Tile(level, index): hashes for level, (index, hashes) in self.edges.items()}
        return {**edges, **self.full}


def test_every_size_to_300_has_its_root_when_grown_one_by_one() -> None:
    log = Log()
    for size in range(300):
        assert log.root() == root_over(HASHES[:size])
        log.append(1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 1_100), min_size=1, max_size=8))
def test_batches_of_any_size_give_the_same_tree(batches: list[int]) -> None:
    log = Log()
    for count in batches:
        log.append(count)
        assert log.root() == root_over(HASHES[: log.size])


def test_a_log_of_70000_entries_has_the_tiles_that_the_specification_names() -> None:
    log = Log()
    for _ in range(70):
        log.append(1_000)
    assert sum(tile.level == 0 for tile in log.full) == 273
    assert sum(tile.level == 1 for tile in log.full) == 1
    assert {level: len(hashes) // 32 for level, (_, hashes) in log.edges.items()} == {
        0: 112,
        1: 17,
        2: 1,
    }
    assert log.root() == root_over(HASHES)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_proofs_folded_from_tiles_verify(data: st.DataObject) -> None:
    log = large_log()
    size = data.draw(st.integers(1, log.size))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    tiles = log.tiles()
    for path in (inclusion_path(index, size), consistency_path(old, size)):
        assert tiles_for(path) <= tiles.keys()
    inclusion = fold_path(inclusion_path(index, size), lambda part: subtree_hash(part, tiles))
    consistency = fold_path(consistency_path(old, size), lambda part: subtree_hash(part, tiles))
    root = root_over(HASHES[:size])
    verify_inclusion(HASHES[index], index, size, inclusion, root)
    verify_consistency(old, size, consistency, root_over(HASHES[:old]), root)


_LARGE: list[Log] = []


def large_log() -> Log:
    """66,000 entries, so that three levels of tiles are in use; made once."""
    if not _LARGE:
        log = Log()
        for _ in range(66):
            log.append(1_000)
        _LARGE.append(log)
    return _LARGE[0]


def test_edges_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="edge of level 0"):
        grow(5, {0: bytes(32 * 4)}, HASHES[:1])
    with pytest.raises(ValueError, match="edge of level 0"):
        edge_root(5, {0: bytes(32 * 4)})


@given(st.integers(0, 2**50), st.integers(1, 256))
def test_a_tile_path_reads_back_as_what_was_written(index: int, width: int) -> None:
    assert parse_tile_path(tile_path(index, width)) == (index, width)


def test_tile_paths_are_those_of_the_specification() -> None:
    assert tile_path(1234067) == "x001/x234/067"
    assert tile_path(0, 17) == "000.p/17"
    for wrong in ("67", "x001", "x000/001", "001.p/0", "001.p/256", "001.p/300", "001.p/05", "a"):
        with pytest.raises(ValueError, match="tile path"):
            parse_tile_path(wrong)


@given(st.lists(st.binary(max_size=600), max_size=20))
def test_an_entry_bundle_reads_back_as_what_was_packed(leaves: list[bytes]) -> None:
    assert unpack_entries(pack_entries(leaves)) == leaves


def test_a_bundle_that_is_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="cut off"):
        unpack_entries(pack_entries([b"abc"])[:-1])


@pytest.mark.parametrize(
    ("topic", "type", "key", "expected"),
    [
        ("hr.worker-events.v1", "worker.hired", b"cedar-sound/W-1", ("cedar-sound", "W-1")),
        ("hr.worker-events.v1", "campaign.x", b"cedar-sound/W%201", ("cedar-sound", "W 1")),
        ("admin.activity-events.v1", "x", b"cedar-sound/dana", ("cedar-sound", "dana", "actor")),
        ("review.events.v1", "campaign.opened", b"o/q3", ("o", "q3", "campaign")),
        ("review.events.v1", "review.opened", b"o/W-1", ("o", "W-1")),
        ("portal.access-events.v1", "portal.reconciled", b"o/hub", ("o", "hub", "portal")),
        ("portal.access-events.v1", "", b"o/W-1", ("o", "W-1")),
        ("portal.access-events.v1", "gap.accepted", b"cedar-sound", None),
        ("hr.worker-events.v1", "", None, None),
        ("hr.worker-events.v1", "", b"\xff/W-1", None),
        ("hr.worker-events.v1", "", b"cedar-sound/", None),
        ("portal.directory-events.v1", "site.set", b"cedar-sound/site/main", None),
        ("portalkeeper.dead-letters.v1", "", b"hr.worker-events.v1/0", None),
    ],
)
def test_a_record_names_whose_key_encrypts_it(
    topic: str, type: str, key: bytes | None, expected: tuple[str, ...] | None
) -> None:
    assert keyholder(topic, type, key) == expected


def test_both_content_modes_name_the_same_event() -> None:
    binary = event_names(
        {"ce_subject": b"W-1", "ce_organization": b"o", "ce_source": b"s", "ce_id": b"1"}, b"{}"
    )
    structured = event_names(
        {"content-type": b"application/cloudevents+json; charset=utf-8"},
        b'{"subject":"W-1","organization":"o","source":"s","id":"1"}',
    )
    assert binary == structured
    assert binary[1] is not None
    assert event_names({"ce_subject": b"\xff"}, None) == ("", None)
