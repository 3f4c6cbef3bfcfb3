"""The signer signs only what continues what it signed before."""

import pytest

from services.audit_log import store
from services.audit_log.signer import Refused, SignerState
from shared.tlog.note import open_checkpoint
from tests.audit_log.worlds import World, hired


async def signed_size(world: World) -> int:
    async with world.pool.acquire() as conn:
        signed = await store.latest_checkpoint(conn)
    assert signed is not None
    return open_checkpoint(signed.note, world.key.verifier).size


async def test_a_log_begins_with_a_signature_on_the_empty_tree(world: World) -> None:
    assert await signed_size(world) == 0


async def test_each_growth_is_signed_once(world: World) -> None:
    await world.append(*[hired(offset) for offset in range(700)])
    note = await world.sign()
    assert await signed_size(world) == 700
    assert await world.sign() == note


async def test_a_restarted_signer_goes_on_from_what_it_remembers(world: World) -> None:
    await world.append(hired(0))
    await world.sign()
    await world.append(hired(1))
    await world.start_signer()
    assert await signed_size(world) == 1
    await world.sign()
    assert await signed_size(world) == 2
    assert (await world.verify()).good


async def test_a_restarted_signer_shows_its_note_again(world: World) -> None:
    await world.append(hired(0))
    await world.sign()
    await world.sabotage("DELETE FROM checkpoint")
    await world.start_signer()
    assert await signed_size(world) == 1


async def test_without_state_an_existing_log_is_refused_unless_told(world: World) -> None:
    await world.append(hired(0))
    await world.forget_signed()
    with pytest.raises(Refused, match="nothing is remembered"):
        await world.start_signer()
    await world.start_signer(new_log=True)
    await world.sign()
    assert await signed_size(world) == 1
    with pytest.raises(Refused, match="is remembered"):
        await world.start_signer(new_log=True)


async def test_an_emptied_log_is_refused_when_it_had_checkpoints(world: World) -> None:
    await world.forget_signed()
    with pytest.raises(Refused, match="nothing is remembered"):
        await world.start_signer()


async def test_a_log_that_shrank_is_refused(world: World) -> None:
    await world.append(hired(0), hired(1), hired(2))
    await world.sign()
    await world.sabotage("DELETE FROM entry WHERE index = 2", "UPDATE log_head SET size = 2")
    with pytest.raises(Refused, match="shrank from 3 to 2"):
        await world.sign()


async def test_a_missing_entry_is_refused(world: World) -> None:
    await world.append(*[hired(offset) for offset in range(5)])
    await world.sabotage("DELETE FROM entry WHERE index = 3")
    with pytest.raises(Refused, match="entry 3 is missing"):
        await world.sign()


async def test_another_history_under_the_same_checkpoint_is_refused(world: World) -> None:
    await world.append(hired(0), hired(1))
    await world.sign()
    # A restore from an older backup, and then other records than the first time.
    await world.sabotage(
        "TRUNCATE entry, tile, tile_edge",
        "UPDATE log_head SET size = 0",
    )
    await world.append(hired(0), hired(7), hired(8))
    with pytest.raises(Refused, match="do not continue"):
        await world.sign()


async def test_an_entry_changed_before_it_was_signed_is_refused(world: World) -> None:
    await world.append(hired(0), hired(1))
    await world.sabotage("UPDATE entry SET leaf = leaf || ' ' WHERE index = 1")
    with pytest.raises(Refused, match="do not continue"):
        await world.sign()


async def test_only_one_signer_works_with_a_state_folder(world: World) -> None:
    with pytest.raises(Refused, match="another signer"):
        SignerState(world.folder / "signer")


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"note":"x","frontier":[]}', b"[1]"])
async def test_damaged_state_is_refused(world: World, damage: bytes) -> None:
    await world.sign()
    await world.stop_signer()
    (world.folder / "signer" / "signed.json").write_bytes(damage)
    with pytest.raises(Refused, match=r"signed\.json"):
        await world.start_signer()
