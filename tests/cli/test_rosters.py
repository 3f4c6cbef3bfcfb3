"""HR's lists from the command line and from a folder."""

import json
import os
import re
from pathlib import Path

import anyio
import tree_sitter_powershell
from tree_sitter import Language, Parser

from services.cli.client import Exit
from services.cli.rosters import take_settled
from tests.cli.conftest import Listening, Run
from tests.gateway.conftest import SOURCE
from tests.servers import ROOT

LIST = "worker_id,name,title,status,hired_on\nw1,Ada,Biller,Active,2026-01-05\n"


async def test_a_signed_list_shows_what_it_comes_to(
    run: Run, listening: Listening, tmp_path: Path
) -> None:
    file = tmp_path / "workers.csv"
    file.write_bytes(LIST.encode("utf-16"))
    ran = await run("hr", "roster", str(file), "--source", SOURCE, "--to", listening.url)
    assert ran.code == Exit.OK, ran.err
    assert ran.out.startswith("workers.csv: 1 hires. Nothing has happened yet.")


async def test_a_list_with_lines_left_out_ends_with_status_1(
    run: Run, listening: Listening, tmp_path: Path
) -> None:
    file = tmp_path / "workers.csv"
    file.write_text(LIST + "1E+05,Bob,Biller,Active,2026-01-05\n")
    ran = await run("hr", "roster", str(file), "--source", SOURCE, "--to", listening.url)
    assert ran.code == Exit.NO
    assert "Line 3, column 'worker_id': 1E+05" in ran.out


async def test_lists_in_a_folder_are_applied_or_refused_each_beside_its_report(
    run: Run, listening: Listening, tmp_path: Path
) -> None:
    (tmp_path / "good.csv").write_text(LIST)
    (tmp_path / "bad.csv").write_text("Name,Title\nAda,Biller\n")
    (tmp_path / "notes.docx").write_text("not a list")
    ran = await run("hr", "watch", str(tmp_path), "--once", "--to", listening.url)
    assert ran.code == Exit.OK, ran.err
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["notes.docx"]
    (report,) = (tmp_path / "done").glob("* good.csv.report.txt")
    assert "Applied." in report.read_text() or "Being applied." in report.read_text()
    (report,) = (tmp_path / "refused").glob("* bad.csv.report.txt")
    assert "No column tells the workers' ids" in report.read_text()


async def test_a_list_stays_in_the_folder_while_nobody_answers(run: Run, tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text(LIST)
    ran = await run("hr", "watch", str(tmp_path), "--once", "--to", "http://127.0.0.1:1")
    assert "stays where it is" in ran.err
    assert (tmp_path / "good.csv").exists()


async def test_the_one_liner_in_the_documentation_sends_a_list_and_applies_it(
    run: Run, listening: Listening, tmp_path: Path
) -> None:
    assert (await run("sign-in", await listening.link("operator"))).code == Exit.OK
    registered = await run(
        "client", "register", "nightly-list", "--scope", "hr:write", "--source", SOURCE, "--json"
    )
    credentials = json.loads(registered.out)
    (tmp_path / "workers.csv").write_text(LIST)
    documented = (ROOT / "deploy/connecting-hr.md").read_text()
    (command,) = re.findall(r"```sh\n(TOKEN=.*?)```", documented, re.S)
    ran = await anyio.run_process(
        ["sh", "-ec", command],
        cwd=tmp_path,
        env={
            **os.environ,
            "GATEWAY": listening.url,
            "CLIENT_ID": credentials["client_id"],
            "CLIENT_SECRET": credentials["secret"],
        },
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["status"] == "applied"


def test_the_lines_for_windows_are_powershell_and_send_the_same() -> None:
    documented = (ROOT / "deploy/connecting-hr.md").read_text()
    (lines,) = re.findall(r"```powershell\n(.*?)```", documented, re.S)
    parser = Parser(Language(tree_sitter_powershell.language()))
    assert not parser.parse(lines.encode()).root_node.has_error
    assert parser.parse(lines.replace("}", "").encode()).root_node.has_error
    (for_linux,) = re.findall(r"```sh\n(TOKEN=.*?)```", documented, re.S)
    for address in ("/oauth/token", "/hr/v1/rosters?name=workers.csv&apply=true"):
        assert address in lines
        assert address in for_linux


def test_a_file_that_still_grows_is_not_taken(tmp_path: Path) -> None:
    file, seen = tmp_path / "list.csv", dict[Path, tuple[int, int]]()
    file.write_text("worker_id")
    (tmp_path / "~list.csv").write_text("a lock file of Excel")
    assert take_settled(tmp_path, seen) == []
    file.write_text(LIST)
    assert take_settled(tmp_path, seen) == []
    assert take_settled(tmp_path, seen) == [file]
