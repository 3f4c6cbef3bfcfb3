"""What commands print, and the exit statuses that scripts rely on."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio.to_thread
import orjson
import pytest
from typer.testing import CliRunner

from services.cli import hr
from services.cli.client import Exit, Failure
from services.cli.main import app
from tests.cli.conftest import Listening, Run, listen
from tests.gateway.conftest import (
    NEW_SECRET,
    NOWHERE,
    ORGANIZATION,
    OTHER_SECRET,
    SOURCE,
    MakeSettings,
    hired,
)
from tests.servers import ROOT

COMMANDS = (
    ("status",),
    ("work", "list"),
    ("work", "claim", "1"),
    ("chore", "list"),
    ("hr", "roster", "README.md"),
    ("hr", "lists"),
    ("hr", "questions"),
    ("hr", "answer", "still_here", "w1"),
    ("hr", "sources"),
    ("hr", "watch", "."),
    ("hr", "rejected", "list"),
    ("hr", "leaving", "w1", "--now", "--yes"),
    ("hr", "sealed", "list"),
    ("hr", "sealed", "withdraw", "e"),
    ("hr", "secret", "list", "s"),
    ("hr", "secret", "rotate", "s"),
    ("hr", "rejected", "replay", "--all"),
    ("adopt", "README.md", "--as-of", "2026-03-01", "--dry-run"),
    ("portal", "roster", "import", "hub", "README.md", "--as-of", "2026-03-01T06:00"),
    ("portal", "findings"),
    ("portal", "export", "logins.csv"),
    ("simulator", "purge", "hub"),
    ("explain", "w1", "p"),
    ("replay",),
    ("who-had-access", "--portal", "p", "--at", "2026-03-14T09:00"),
    ("exception", "list"),
    ("brake", "list"),
    ("brake", "release", "directory-2", "--reason", "seen"),
    ("outage", "list"),
    ("incident", "report", "hub", "--note", "thrown back"),
    ("leaver", "receipt", "w1"),
    ("own", "work"),
    ("clocks",),
    ("review", "list"),
    ("audit", "verify"),
    ("audit", "tail"),
    ("accept-gap", "group", "topic", "0", "--yes"),
)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """A file of three valid events, one to a line."""
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(hired(f"W-{number}")) for number in range(3)))
    return file


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_without_a_session_says_how_to_sign_in(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PORTALKEEPER_")]:
        monkeypatch.delenv(name)
    # In this process, since there are many: `run` tells whether a real one says the same.
    session = {"PORTALKEEPER_SESSION_FILE": str(tmp_path / "session.json")}
    ran = CliRunner().invoke(app, command, env=session, prog_name="portalkeeper")
    assert ran.exit_code == Exit.NOT_ALLOWED
    assert "portalkeeper sign-in LINK" in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.output


async def test_a_process_without_a_session_ends_with_that_sentence_and_status(run: Run) -> None:
    ran = await run("work", "list")
    assert ran.code == Exit.NOT_ALLOWED
    assert "portalkeeper sign-in LINK" in ran.err
    assert "Traceback" not in ran.err


async def test_a_gateway_that_does_not_answer_is_named(run: Run, tmp_path: Path) -> None:
    session = {"gateway": f"http://{NOWHERE}", "session": "x"}
    (tmp_path / "session.json").write_text(json.dumps(session))
    ran = await run("work", "list")
    assert ran.code == Exit.NO_ANSWER
    assert ran.err.startswith(f"The gateway does not answer at http://{NOWHERE}.")


@pytest.mark.parametrize(
    "command",
    [("work", "nonsense"), ("sign-in", "nonsense"), ("hr", "send", "nowhere.json")],
    ids=" ".join,
)
async def test_a_command_written_wrongly_is_told_apart(run: Run, command: tuple[str, ...]) -> None:
    assert (await run(*command)).code == Exit.USAGE


async def test_signing_in_keeps_a_session_that_only_its_owner_reads(
    run: Run, listening: Listening, tmp_path: Path
) -> None:
    link = await listening.link("administrator")
    assert (await run("sign-in", link)).code == Exit.OK
    file = tmp_path / "session.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["gateway"] == listening.url
    again = await run("sign-in", link)
    assert again.code == Exit.NOT_ALLOWED
    assert "link_used" in again.err


async def test_a_service_that_is_down_is_named(run: Run, listening: Listening) -> None:
    await run("sign-in", await listening.link("administrator"))
    ran = await run("work", "list")
    assert ran.code == Exit.NO_ANSWER
    assert ran.err.startswith("Provisioning does not answer")


async def test_status_is_no_while_a_service_does_not_answer(run: Run, listening: Listening) -> None:
    await run("sign-in", await listening.link("operator"))
    ran = await run("status", "--json")
    assert ran.code == Exit.NO
    states = {row["service"]: row["state"] for row in json.loads(ran.out)}
    assert states == {
        "gateway": "ready",
        "provisioning": "no answer",
        "audit": "no answer",
        "review": "no answer",
    }


async def test_a_file_of_events_is_sent_and_counted(
    run: Run, listening: Listening, events: Path
) -> None:
    ran = await run("hr", "send", str(events), "--to", listening.url, "--json")
    assert ran.code == Exit.OK, ran.err
    assert json.loads(ran.out) == {"accepted": 3, "rejected": [], "dropped": {}}


async def test_a_rejected_event_is_named_and_the_status_says_so(
    run: Run, listening: Listening, tmp_path: Path
) -> None:
    file = tmp_path / "events.json"
    file.write_bytes(orjson.dumps([hired(), hired(data={"npi": "1"}), hired(subject="")]))
    ran = await run("hr", "send", str(file), "--to", listening.url)
    assert ran.code == Exit.NO
    assert "1 accepted, 2 rejected." in ran.out
    assert "invalid_data" in ran.out
    assert "missing_attribute" in ran.out


async def test_a_wrong_secret_is_told_apart_from_a_gateway_that_is_down(
    run: Run, listening: Listening, events: Path
) -> None:
    wrong = await run(
        "hr", "send", str(events), "--to", listening.url, PORTALKEEPER_HR_SECRET="whsec_AAAA"
    )
    assert wrong.code == Exit.NOT_ALLOWED
    assert "signature_invalid" in wrong.err
    other = await run(
        "hr", "send", str(events), "--to", listening.url, PORTALKEEPER_HR_SECRET=OTHER_SECRET
    )
    assert other.code == Exit.NO


async def test_the_secret_is_found_in_the_gateways_sources_file(
    run: Run, listening: Listening, events: Path
) -> None:
    sources = str(listening.settings.sources_file)
    ran = await run("hr", "send", str(events), "--to", listening.url, "--secret-file", sources)
    assert ran.code == Exit.OK, ran.err


async def test_events_whose_fate_is_unknown_are_sent_again_with_the_same_ids(
    make_settings: MakeSettings,
    database: Mapping[str, str],
    prepared_kafka: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hr, "ATTEMPTS", 2)
    monkeypatch.setattr(hr, "LONGEST_PAUSE_SECONDS", 0.1)

    def send(url: str) -> hr.Sent:
        return hr.send([hired("W-again")], f"{url}/hr/v1/events", NEW_SECRET, lambda _: None)

    async with listen(make_settings, NOWHERE, database) as down:
        with pytest.raises(Failure, match="Send the same file again") as failure:
            await anyio.to_thread.run_sync(send, down.url)
        assert failure.value.code == Exit.NO_ANSWER
    async with listen(make_settings, prepared_kafka, database) as up:
        assert (await anyio.to_thread.run_sync(send, up.url)).accepted == 1


def test_large_files_are_sent_in_requests_that_the_gateway_takes() -> None:
    events = [hired(f"W-{number}") for number in range(1_201)]
    chunks = list(hr._chunks(events))
    assert [count for count, _ in chunks] == [500, 500, 201]
    assert all(len(body) < 1024 * 1024 for _, body in chunks)
    wide = [hired(f"W-{number}", data={"note": "x" * 400_000}) for number in range(4)]
    assert [count for count, _ in hr._chunks(wide)] == [2, 2]


@pytest.mark.parametrize("text", [b"[1]", b'{"a":', b'{"a":1}\n{"b"', b'"text"'])
def test_a_file_that_holds_no_events_is_refused(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "events"
    file.write_bytes(text)
    with pytest.raises(Failure) as failure:
        hr.read_events(file)
    assert failure.value.code == Exit.USAGE


async def test_rejected_events_are_listed_and_replayed_and_say_what_is_still_wrong(
    run: Run, listening: Listening, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.json"
    file.write_bytes(orjson.dumps([hired(data={"effective_on": "soon"})]))
    assert (await run("hr", "send", str(file), "--to", listening.url)).code == Exit.NO
    await run("sign-in", await listening.link("hr"))
    kept = json.loads((await run("hr", "rejected", "list", "--json")).out)
    assert "invalid_data" in {one["code"] for one in kept}
    ran = await run("hr", "rejected", "replay", "--all")
    assert ran.code == Exit.NO
    assert f"0 accepted, {len(kept)} still refused." in ran.out
    assert "effective_on" in ran.out
    assert (await run("hr", "rejected", "replay")).code == Exit.USAGE


async def test_the_program_in_the_documentation_gets_its_event_accepted(
    listening: Listening,
) -> None:
    text = (ROOT / "deploy" / "connecting-hr.md").read_text()
    program = text.partition("```python\n")[2].partition("```")[0]
    told = {
        "HR_SOURCE": SOURCE,
        "HR_ORGANIZATION": ORGANIZATION,
        "HR_SECRET": NEW_SECRET,
        "PORTALKEEPER_URL": listening.url,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=os.environ | told, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.startswith(b"202 "), out
