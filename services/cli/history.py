"""`who-had-access`: who could use a portal at a moment, and the proof."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from services.cli.client import Client, Exit, Failure
from services.cli.printing import AsJson, out, print_json, table, text
from shared.tlog.merkle import ProofError
from shared.tlog.note import NoteError
from shared.tlog.proved import Proved, check_proofs

SOURCE = "/portalkeeper/provisioning"
LOOKUP_EVENTS = 500
GRADES = {
    "roster": "on the portal's own list",
    "api": "by the portal's own answer",
    "person": "on a person's word",
    "assumed": "adopted, unverified",
}

At = Annotated[
    str, typer.Option("--at", help="Such as 2026-03-14T09:00, in the organization's zone.")
]
KnownAt = Annotated[
    str | None, typer.Option("--known-at", help="As it was known then, instead of now.")
]


def who_had_access(
    portal: Annotated[str, typer.Option(help="The portal's id in the directory.")],
    at: At,
    known_at: KnownAt = None,
    function: Annotated[str | None, typer.Option(help="Only this, such as remittance.")] = None,
    as_json: AsJson = False,
) -> None:
    """Who could use a portal at a moment, who answers for it, how it is known, and the proof."""
    client = Client.open()
    found = _everybody(client, portal, at, known_at, function)
    entries, proved, why_not = _audited(client, events_of(found["people"]))
    if as_json:
        proof = None
        if proved is not None:
            proof = {
                "origin": proved.checkpoint.origin,
                "size": proved.checkpoint.size,
                "root": proved.checkpoint.root.hex(),
                "public_key": proved.public_key,
                "proved": sorted(proved.indexes),
            }
        print_json({**found, "audit": {"entries": entries, "proof": proof, "why_not": why_not}})
        return
    _print_answer(found, entries, proved)
    if proved is not None:
        out.print(
            f"\n{len(proved.indexes)} audit entries proved to be in {proved.checkpoint.origin},"
            f" {proved.checkpoint.size} entries, root {proved.checkpoint.root.hex()}",
            markup=False,
        )
    if why_not:
        out.print(f"\n{why_not}", markup=False)


def _everybody(
    client: Client, portal: str, at: str, known_at: str | None, function: str | None
) -> dict[str, Any]:
    """All pages of the answer as one."""
    asked = {"portal": portal, "at": at, "known_at": known_at, "function": function, "limit": 500}
    answer: dict[str, Any] = {}
    people: list[Any] = []
    cursor: str | None = None
    while not answer or cursor:
        page = client.get("provisioning", "/access/v1/who-had-access", {**asked, "cursor": cursor})
        answer = answer or page
        # The next pages are about what was known when the first one was answered.
        asked["known_at"] = answer["known_at"]
        people += page["people"]
        cursor = page["next_cursor"]
    return {**answer, "people": people, "next_cursor": None}


def events_of(people: Iterable[dict[str, Any]]) -> list[str]:
    """Ids of the events that say what people held, and how it ended."""
    return list(
        dict.fromkeys(
            source["event_id"]
            for person in people
            for holding in person["holdings"]
            for source in (holding["known_by"], holding["ended_by"])
            if source
        )
    )


def _audited(client: Client, events: list[str]) -> tuple[dict[str, int], Proved | None, str | None]:
    """Audit entries of these events, what is proved of them, or why nothing is.

    Raises:
        Failure: the log's proofs are wrong.
    """
    if not events:
        return {}, None, None
    try:
        entries = find_entries(client, [(SOURCE, event) for event in events])
        log = client.get("audit", "/audit/v1/log")
    except Failure as failure:
        return {}, None, f"Audit entries are missing here. {failure.sentence}"
    signed = [index for index in entries.values() if index < (log["checkpoint_size"] or 0)]
    if not signed:
        return entries, None, "No signed checkpoint covers these entries yet."
    answer = client.post("audit", "/audit/v1/proofs", {"indexes": signed[:1000]})
    try:
        return entries, check_proofs(answer), None
    except (ProofError, NoteError, KeyError, ValueError) as error:
        raise Failure(Exit.NO, f"The proofs of the audit log are WRONG: {error}") from error


def find_entries(client: Client, events: list[tuple[str, str]]) -> dict[str, int]:
    """Indexes of the audit entries of (source, event id), as far as the log has them."""
    found: dict[str, int] = {}
    for start in range(0, len(events), LOOKUP_EVENTS):
        wanted = [
            {"source": source, "id": id_} for source, id_ in events[start : start + LOOKUP_EVENTS]
        ]
        answer = client.post("audit", "/audit/v1/lookup", {"events": wanted})
        found |= {each["id"]: each["index"] for each in answer["entries"]}
    return found


def _print_answer(found: dict[str, Any], entries: dict[str, int], proved: Proved | None) -> None:
    summary = found["summary"]
    what = (found["function"] or "anything").replace("_", " ")
    out.print(
        f"Who could use {what} at {found['portal_name']} at {found['at']},"
        f" as known at {found['known_at']}?",
        markup=False,
    )
    grades = ", ".join(f"{people} {GRADES[grade]}" for grade, people in summary["by_grade"].items())
    out.print(f"{summary['people']} people{': ' + grades if grades else ''}", markup=False)
    for each in summary["authorities"]:
        by = each["authorized_by"]
        who = f"{by['kind']} {by['reference']} ({by['by']})" if by else "nobody on record"
        out.print(f"  approved by {who}: {each['people']}", markup=False)
    for gap in found["gaps"]:
        out.print(f"  {gap['detail']} [{gap['rule']}]", markup=False)
    if found["people"]:
        _print_people(found["people"], entries, proved)
    for one in found["perhaps"]:
        out.print(
            f"May have had it: {one['name'] or one['worker']}, ordered {one['ordered_at']},"
            f" confirmed {one['confirmed_at']}",
            markup=False,
        )


def _print_people(
    people: Iterable[dict[str, Any]], entries: dict[str, int], proved: Proved | None
) -> None:
    rows = table("Person", "Could use", "Since", "How it is known", "Who answers", "Audit", "Gaps")
    for person in people:
        holdings = person["holdings"]
        authorities = {
            f"{by['kind']} {by['reference']}" if (by := one["authorized_by"]) else "nobody"
            for one in holdings
        }
        rows.add_row(
            person["name"] or person["worker"],
            ", ".join(dict.fromkeys(one["function"] for one in holdings)).replace("_", " "),
            person["since"],
            GRADES[person["grade"]],
            ", ".join(sorted(authorities)),
            ", ".join(_entry(entries.get(event), proved) for event in events_of([person])),
            ", ".join(gap["rule"] for gap in person["gaps"]),
        )
    out.print(rows)


def _entry(index: int | None, proved: Proved | None) -> str:
    mark = " proved" if proved is not None and index in proved.indexes else ""
    return f"{text(index)}{mark}"
