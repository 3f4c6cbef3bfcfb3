"""`who-had-access` and `explain`: who could use a portal when and why, and the proof."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from services.cli.client import Client, Exit, Failure
from services.cli.printing import AsJson, Rows, out, print_json, text
from shared.tlog.merkle import ProofError
from shared.tlog.note import NoteError
from shared.tlog.proved import Proved, check_proofs

SOURCE = "/portalkeeper/provisioning"
LOOKUP_EVENTS = 500
MAX_PROOFS = 1_000
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
    events = [(SOURCE, event) for event in events_of(found["people"])]
    audited = _audited(client, events)
    if as_json:
        print_json({**found, "audit": audited.document()})
        return
    _print_answer(found, audited)
    audited.print()


def explain(
    worker: Annotated[str, typer.Argument(help="The worker's id.")],
    portal: Annotated[str, typer.Argument(help="The portal's id in the directory.")],
    as_json: AsJson = False,
) -> None:
    """Why somebody can, or cannot, use a portal: HR event, rule, authorization, work, evidence."""
    client = Client.open()
    found = client.get("provisioning", "/access/v1/explain", {"worker": worker, "portal": portal})
    events = [
        (link["event"][0], link["event"][1])
        for line in found["lines"]
        for link in line["chain"]
        if link["event"]
    ]
    audited = _audited(client, list(dict.fromkeys(events)))
    if as_json:
        print_json({**found, "audit": audited.document()})
        return
    out.print(
        f"{found['name'] or worker} ({found['status'].replace('_', ' ')}) at"
        f" {found['portal_name']}, {found['as_of']}"
    )
    for line in found["lines"]:
        _print_line(line, audited)
    audited.print()


def _print_line(line: dict[str, Any], audited: "Audited") -> None:
    tin = f" (tax id {line['tin']})" if line["tin"] else ""
    out.print(
        f"\n{line['function'].replace('_', ' ')}{tin}: {line['state'].upper()}, {line['rule']}\n"
        f"  {line['detail']}"
    )
    if line["next_step"]:
        out.print(f"  Next: {line['next_step']}")
    for link in line["chain"]:
        told = [link["text"], link["at"], link["by"], link["reference"]]
        entry = audited.entries.get(link["event"][1]) if link["event"] else None
        if entry is not None:
            told.append(f"entry {_entry(entry, audited)}")
        step = link["step"].replace("_", " ")
        out.print(f"  {step:>13}  {'  '.join(each for each in told if each)}")


@dataclass(slots=True)
class Audited:
    """Audit entries by event id, what is proved of them, or why nothing is."""

    entries: dict[str, int] = field(default_factory=dict)
    proved: Proved | None = None
    why_not: str | None = None

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        proof = None
        if self.proved is not None:
            proof = {
                "origin": self.proved.checkpoint.origin,
                "size": self.proved.checkpoint.size,
                "root": self.proved.checkpoint.root.hex(),
                "public_key": self.proved.public_key,
                "proved": sorted(self.proved.indexes),
            }
        return {"entries": self.entries, "proof": proof, "why_not": self.why_not}

    def print(self) -> None:
        """What is proved, or why nothing is."""
        if self.proved is not None:
            checkpoint = self.proved.checkpoint
            out.print(
                f"\n{len(self.proved.indexes)} audit entries proved to be in {checkpoint.origin},"
                f" {checkpoint.size} entries, root {checkpoint.root.hex()}"
            )
        if self.why_not:
            out.print(f"\n{self.why_not}")


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


def _audited(client: Client, events: list[tuple[str, str]]) -> Audited:
    """What the audit log holds of (source, event id).

    Raises:
        Failure: the log's proofs are wrong.
    """
    if not events:
        return Audited()
    try:
        entries = find_entries(client, events)
        log = client.get("audit", "/audit/v1/log")
    except Failure as failure:
        return Audited(why_not=f"Audit entries are missing here. {failure.sentence}")
    signed = [index for index in entries.values() if index < (log["checkpoint_size"] or 0)]
    if not signed:
        return Audited(entries, why_not="No signed checkpoint covers these entries yet.")
    answer = client.post("audit", "/audit/v1/proofs", {"indexes": signed[:MAX_PROOFS]})
    try:
        return Audited(entries, check_proofs(answer))
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


def _print_answer(found: dict[str, Any], audited: Audited) -> None:
    summary = found["summary"]
    what = (found["function"] or "anything").replace("_", " ")
    out.print(
        f"Who could use {what} at {found['portal_name']} at {found['at']},"
        f" as known at {found['known_at']}?"
    )
    grades = ", ".join(f"{people} {GRADES[grade]}" for grade, people in summary["by_grade"].items())
    out.print(f"{summary['people']} people{': ' + grades if grades else ''}")
    for each in summary["authorities"]:
        by = each["authorized_by"]
        who = f"{by['kind']} {by['reference']} ({by['by']})" if by else "nobody on record"
        out.print(f"  approved by {who}: {each['people']}")
    for gap in found["gaps"]:
        out.print(f"  {gap['detail']} [{gap['rule']}]")
    if found["people"]:
        _print_people(found["people"], audited)
    for one in found["perhaps"]:
        out.print(
            f"May have had it: {one['name'] or one['worker']}, ordered {one['ordered_at']},"
            f" confirmed {one['confirmed_at']}"
        )


def _print_people(people: Iterable[dict[str, Any]], audited: Audited) -> None:
    rows = Rows("Person", "Could use", "Since", "How it is known", "Who answers", "Audit", "Gaps")
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
            ", ".join(_entry(audited.entries.get(event), audited) for event in events_of([person])),
            ", ".join(gap["rule"] for gap in person["gaps"]),
        )
    out.print(rows)


def _entry(index: int | None, audited: Audited) -> str:
    proved = audited.proved
    mark = " proved" if proved is not None and index in proved.indexes else ""
    return f"{text(index)}{mark}"
