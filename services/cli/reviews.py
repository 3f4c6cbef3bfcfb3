"""`portalkeeper review`: confirming or removing access, campaigns, and how well it is done."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from services.cli.audit import fetch_export
from services.cli.client import Client, Exit, Failure
from services.cli.printing import AsJson, Limit, Rows, group, out, print_answer, print_json, text

review_app = group("Confirming or removing access.")

ReviewId = Annotated[str, typer.Argument(help="The review, from: review list")]
CampaignId = Annotated[str, typer.Argument(help="The campaign, from: review campaigns")]
Lines = Annotated[list[str] | None, typer.Option(help="A line; may be repeated.")]
Many = Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")]


@review_app.command("list")
def review_list(
    status: Annotated[str, typer.Option(help="open, decided or closed")] = "open",
    worker: Annotated[str, typer.Option(help="Whose access.")] = "",
    campaign: Annotated[str, typer.Option(help="Of which campaign.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Reviews by due date."""
    asked = {"status": status, "worker": worker, "campaign": campaign, "limit": limit}
    found = Client.open().get("review", "/review/v1/reviews", asked)
    if as_json:
        print_json(found["reviews"])
        return
    rows = Rows("Review", "Worker", "Due", "Undecided", "Reviewer")
    for each in found["reviews"]:
        rows.add_row(
            each["review_id"],
            each["worker_name"] or each["worker"],
            each["due_at"],
            f"{each['undecided']} of {each['lines']}",
            each["reviewer_name"] or each["reviewer"] or "nobody yet",
        )
    out.print(rows if found["reviews"] else "Nothing to review.")


@review_app.command("show")
def review_show(review_id: ReviewId, as_json: AsJson = False) -> None:
    """One review with its lines as they are now."""
    _print_review(as_json, Client.open().get("review", _path(review_id)))


@review_app.command("decide")
def review_decide(
    review_id: ReviewId,
    keep: Lines = None,
    remove: Lines = None,
    reason: Annotated[
        str | None, typer.Option(help="Needed for a removal, and where policy asks.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide on lines, all or none."""
    decisions = [
        {"line_id": line, "decision": decision, "reason": reason}
        for decision, lines in (("keep", keep), ("remove", remove))
        for line in lines or ()
    ]
    if not decisions:
        raise Failure(Exit.USAGE, "Say which lines: --keep LINE or --remove LINE --reason WHY.")
    body = {"decisions": decisions}
    _print_review(as_json, Client.open().command("review", f"{_path(review_id)}/decisions", body))


@review_app.command("reduce")
def review_reduce(
    review_id: ReviewId,
    portal: Annotated[str, typer.Argument(help="On which portal.")],
    tin: Annotated[str, typer.Option(help="Under which tax id.")],
    to: Annotated[list[str], typer.Option(help="A function to keep; may be repeated.")],
    reason: Annotated[str, typer.Option(help="Why the others go.")],
    as_json: AsJson = False,
) -> None:
    """Keep some functions on a portal and remove the others that the review asks about."""
    body = {"portal": portal, "tin": tin, "functions": to, "reason": reason}
    _print_review(as_json, Client.open().command("review", f"{_path(review_id)}/reductions", body))


@review_app.command("bulk")
def review_bulk(
    decision: Annotated[str, typer.Argument(help="keep or remove")],
    campaign: Annotated[str, typer.Option(help="Only of this campaign.")] = "",
    worker: Annotated[str, typer.Option(help="Only of this worker.")] = "",
    portal: Annotated[str, typer.Option(help="Only on this portal.")] = "",
    function: Annotated[str, typer.Option(help="Only this function.")] = "",
    recommended: Annotated[str, typer.Option(help="Only where this is recommended.")] = "",
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    yes: Annotated[int | None, typer.Option(help="How many lines you expect: no question.")] = None,
    as_json: AsJson = False,
) -> None:
    """Decide the same on all undecided lines that fit, once you confirm how many they are."""
    client = Client.open()
    given = {"campaign_id": campaign, "worker": worker, "portal": portal, "function": function}
    where = {name: value for name, value in (given | {"advice": recommended}).items() if value}
    count = yes
    if count is None:
        count = client.get("review", "/review/v1/lines/count", where)["count"]
        if not count:
            raise Failure(Exit.NO, "No undecided line fits.")
        typer.confirm(f"{decision.capitalize()} {count} lines?", abort=True, err=True)
    body = {"where": where, "decision": decision, "reason": reason, "count": count}
    answer = client.command("review", "/review/v1/decisions", body)
    print_answer(as_json, answer, f"{answer['decided']} lines are decided.")


@review_app.command("ask")
def review_ask(
    review_id: ReviewId,
    worker: Annotated[str, typer.Argument(help="Whom to ask, by worker id.")],
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    line: Annotated[list[str], typer.Option(help="A line; may be repeated.")],
    as_json: AsJson = False,
) -> None:
    """Ask somebody who knows more; their answer comes back, and you decide."""
    body = {"line_ids": line, "worker": worker, "question": question}
    answer = Client.open().command("review", f"{_path(review_id)}/questions", body)
    print_answer(as_json, answer, f"{worker} is asked; they see it with: review questions")


@review_app.command("questions")
def review_questions(as_json: AsJson = False) -> None:
    """What somebody asks you about others' access."""
    found = Client.open().get("review", "/review/v1/questions")["questions"]
    if as_json:
        print_json(found)
        return
    rows = Rows("Question", "Asked by", "Whose", "Access", "What they want to know")
    for each in found:
        access = f"{each['function']} at {each['portal']}"
        name = each["worker_name"] or each["worker"]
        rows.add_row(each["question_id"], each["asked_by"], name, access, each["words"])
    out.print(rows if found else "Nobody asks you anything.")


@review_app.command("answer")
def review_answer(
    question_id: Annotated[str, typer.Argument(help="The question, from: review questions")],
    advice: Annotated[str, typer.Argument(help="keep, remove, or ask if you do not know")],
    answer: Annotated[str, typer.Argument(help="Why.")],
    as_json: AsJson = False,
) -> None:
    """Answer a question; whoever asked decides."""
    path = f"/review/v1/questions/{quote(question_id, safe='')}/answer"
    said = Client.open().command("review", path, {"advice": advice, "answer": answer})
    print_answer(as_json, said, "Your answer went back.")


@review_app.command("not-mine")
def review_not_mine(
    review_id: ReviewId,
    reason: Annotated[str, typer.Option(help="Why it is somebody else's.")],
    as_json: AsJson = False,
) -> None:
    """Pass a review on to the next by rule."""
    answer = Client.open().command("review", f"{_path(review_id)}/not-mine", {"reason": reason})
    to = answer["reviewer"] or "whoever manages reviews"
    print_answer(as_json, answer, f"It goes to {to} ({answer['reviewer_rule'].replace('_', ' ')}).")


@review_app.command("delegate")
def review_delegate(
    delegate: Annotated[str, typer.Argument(help="Who decides in your place, by worker id.")],
    since: Annotated[str, typer.Option(help="From this day, such as 2027-01-04.")],
    until: Annotated[str, typer.Option(help="To this day, inclusive.")],
    reviewer: Annotated[
        str | None, typer.Option(help="In whose place; for whoever manages reviews.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have somebody decide in your place on some days."""
    for day in (since, until):
        try:
            date.fromisoformat(day)
        except ValueError:
            raise Failure(Exit.USAGE, f"{day} is no day; write it as 2027-01-04.") from None
    body = {"delegate": delegate, "since": since, "until": until, "reviewer": reviewer}
    answer = Client.open().command("review", "/review/v1/delegations", body)
    print_answer(as_json, answer, f"{delegate} decides from {since} to {until}.")


@review_app.command("campaigns")
def review_campaigns(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Campaigns, newest first, with how far they are."""
    found = Client.open().get("review", "/review/v1/campaigns", {"limit": limit})["campaigns"]
    if as_json:
        print_json(found)
        return
    rows = Rows("Campaign", "Title", "Status", "Due", "Decided", "Removed", "Moot")
    for each in found:
        decided = each["lines"] - each["undecided"]
        rows.add_row(
            each["campaign_id"],
            each["title"],
            each["status"],
            each["due_at"],
            f"{decided} of {each['lines']}",
            text(each["removal_confirmed"]),
            text(each["moot"]),
        )
    out.print(rows if found else "No campaign was opened yet.")


Calendar = Annotated[str | None, typer.Option(help="As this calendar of the policy says.")]
Days = Annotated[int | None, typer.Option(min=1, max=90, help="Days to decide.")]


def _order(
    title: str | None,
    calendar: str | None,
    days: int | None,
    sites: list[str] | None,
    portals: list[str] | None,
    functions: list[str] | None,
) -> dict[str, Any]:
    scope = {"sites": sites or [], "portals": portals or [], "functions": functions or []}
    order = {"title": title, "calendar": calendar, "days_to_decide": days}
    return order | {"scope": scope if any(scope.values()) else None}


@review_app.command("preview")
def review_preview(
    calendar: Calendar = None,
    days: Days = None,
    site: Many = None,
    portal: Many = None,
    function: Many = None,
    as_json: AsJson = False,
) -> None:
    """Whom a campaign would ask about what, if it were opened now."""
    order = _order(None, calendar, days, site, portal, function)
    found = Client.open().post("review", "/review/v1/campaigns/preview", order)
    if as_json:
        print_json(found)
        return
    out.print(
        f"{found['title']}: {found['lines']} lines about {found['workers']} workers in"
        f" {found['reviews']} reviews, due {found['due_at']}"
    )
    rows = Rows("Reviewer", "Reviews", "Lines")
    for each in found["reviewers"]:
        name = each["name"] or each["reviewer"] or "whoever manages reviews"
        rows.add_row(name, text(each["reviews"]), text(each["lines"]))
    out.print(rows)


@review_app.command("open")
def review_open(
    title: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    calendar: Calendar = None,
    days: Days = None,
    site: Many = None,
    portal: Many = None,
    function: Many = None,
    as_json: AsJson = False,
) -> None:
    """Open a campaign now; look at it first with: review preview"""
    order = _order(title, calendar, days, site, portal, function)
    answer = Client.open().command("review", "/review/v1/campaigns", order)
    print_answer(
        as_json, answer, f"{answer['title']} is opening as {answer['campaign_id']}, due"
        f" {answer['due_at']}.",
    )  # fmt: skip


@review_app.command("quality")
def review_quality(
    campaign: Annotated[str, typer.Option(help="Of one campaign only.")] = "",
    as_json: AsJson = False,
) -> None:
    """How reviewers worked over the last year, those to ask about first."""
    found = Client.open().get("review", "/review/v1/quality", {"campaign": campaign})
    if as_json:
        print_json(found)
        return
    rows = Rows("Reviewer", "Reviews", "Late", "Open", "Kept", "Seconds a line", "To ask about")
    for each in found["reviewers"]:
        rows.add_row(
            each["reviewer_name"] or each["reviewer"],
            text(each["reviews"]),
            text(each["late"]),
            text(each["open_lines"]),
            f"{each['kept']} of {each['decided']}",
            text(each["seconds_per_line"]),
            ", ".join(each["signals"]).replace("_", " "),
        )
    out.print(rows if found["reviewers"] else "Nobody was asked within the last year.")
    for each in found["dormant_keeps"]:
        out.print(
            f"Kept {each['keeps']} times though dormant: {each['worker_name'] or each['worker']},"
            f" {each['function']} at {each['portal']}, last by {each['last_kept_by']}"
        )


@review_app.command("coverage")
def review_coverage(limit: Limit = 50, as_json: AsJson = False) -> None:
    """How much of what is held now was reviewed within the last year, and what was not."""
    found = Client.open().get("review", "/review/v1/coverage", {"limit": limit})
    if as_json:
        print_json(found)
        return
    out.print(f"{found['reviewed']} of {found['held']} entitlements were reviewed in a year.")
    rows = Rows("Not reviewed", "Portal", "Function", "Held since", "Asked about now")
    for each in found["unreviewed"]:
        rows.add_row(
            each["worker_name"] or each["worker"],
            each["portal"],
            each["function"],
            text(each["since"]),
            "yes" if each["asked"] else "no",
        )
    if found["unreviewed"]:
        out.print(rows)


@review_app.command("evidence")
def review_evidence(
    campaign_id: CampaignId,
    to: Annotated[Path | None, typer.Option(help="Where to write the ZIP.")] = None,
    as_json: AsJson = False,
) -> None:
    """The evidence package of a campaign: every line accounted for, every entry proved."""
    client = Client.open()
    campaign = client.get("review", f"/review/v1/campaigns/{quote(campaign_id, safe='')}")
    body = {"form": "evidence", "asked": {"review": campaign["campaign_id"]}}
    ordered = client.command("audit", "/audit/v1/exports", body)
    file = to or Path(f"review-{campaign['title']}-evidence.zip".replace("/", "-"))
    found = fetch_export(str(ordered["id"]), file)
    print_answer(
        as_json,
        {**found, "file": str(file)},
        f"{found['done']} entries are in {file}. Check it with the verifier inside it.",
    )


def _path(review_id: str) -> str:
    return f"/review/v1/reviews/{quote(review_id, safe='')}"


def _print_review(as_json: bool, review: dict[str, Any]) -> None:
    if as_json:
        print_json(review)
        return
    out.print(
        f"{review['worker_name'] or review['worker']}: {review['undecided']} of"
        f" {len(review['lines'])} undecided, due {review['due_at']}"
    )
    rows = Rows("Line", "Access", "Last login", "Risks", "Recommended", "Status", "Changed")
    for line in review["lines"]:
        login = line["login"] or {}
        advice = line["recommendation"]
        rows.add_row(
            line["line_id"],
            f"{line['function'] or 'account'} at {line['portal']}",
            text(login.get("last_login_at")),
            ", ".join(line["risks"]).replace("_", " "),
            f"{advice['advice']}: {advice['reason']}",
            line["status"].replace("_", " "),
            "; ".join(line["changed"]),
        )
    out.print(rows)
