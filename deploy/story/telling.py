"""What came of the example, told in the organization's zone; every number is a service's answer."""

import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from deploy.story.checking import dead_letters, verify_audit_log
from deploy.story.playing import REMOVAL_KINDS, explain
from deploy.story.services import Installed, Services, StoryFailed

RECENT_DAYS = 7
MONTH_DAYS = 30.44
CHECKED = ("still_active", "shared", "orphan", "drift")
"""What can be wrong with a login that was there before."""

LINES_PER_PART = 6
"""What does not fit is counted; the console shows it."""

MINUTE, HOUR, DAY = 60, 3600, 86400
REMITTANCE = "remittance"
GRADES = {
    "roster": "on the portal's own list",
    "api": "by the portal's own answer",
    "person": "on a person's word",
    "assumed": "adopted and unverified",
}


async def summary(installed: Installed) -> str:
    """The state of the organization, as an administrator would want to read it in the morning.

    Raises:
        StoryFailed: a service does not answer, or nothing was played.
    """
    async with Services(installed) as services:
        try:
            return await _Teller(services, installed).tell()
        except httpx.HTTPStatusError as error:
            raise StoryFailed(explain(error)) from error


SHOWN_REFERENCE = 12
"""Of an adoption's reference, which is a hash, so much tells one sheet from another."""


class _Teller:
    """Asks, and puts the answers into lines."""

    def __init__(self, services: Services, installed: Installed) -> None:
        self._services = services
        self._installed = installed
        self._zone = ZoneInfo("UTC")
        self._now = datetime.now(self._zone)
        self._portal_names: dict[str, str] = {}

    async def tell(self) -> str:
        overview = await self._services.get("provisioning", "/access/v1/overview")
        organization = overview["organization"]
        if organization is None:
            raise StoryFailed("No directory is applied, so there is nothing to tell.")
        self._zone = ZoneInfo(organization["zone"])
        self._now = datetime.fromisoformat(overview["as_of"]).astimezone(self._zone)
        directory = await self._services.get("provisioning", "/access/v1/directory")
        self._portal_names = {p["id"]: p["name"] for p in directory["directory"]["portals"]}
        lines = self._heading(overview)
        lines += await self._old_spreadsheet()
        lines += await self._do_today(overview)
        lines += await self._new_and_moved()
        lines += await self._hr(overview)
        lines += await self._reviews()
        lines += self._removals(overview["removals"])
        lines += await self._auditor_asks(directory["directory"])
        lines += self._ways_on(overview)
        return "\n".join(lines)

    # -- parts

    def _heading(self, overview: Mapping[str, Any]) -> list[str]:
        counts = overview["counts"]
        return [
            f"{overview['organization']['name']}  "
            f"{counts['workers']} workers, {counts['portal_users']} use portals | "
            f"{counts['portals']} portals, {counts['carriers']} carriers | "
            f"{self._now:%a %-d %b %H:%M %Z}",
            "Example data. Portals are simulated; no real website was contacted.",
        ]

    async def _old_spreadsheet(self) -> list[str]:
        """What was wrong with the logins that were there before, and what became of it."""
        adoptions = (await self._services.get("provisioning", "/access/v1/adoptions"))["adoptions"]
        if not adoptions:
            return []
        first = min(adoptions, key=lambda each: each["as_of"])
        as_of = self._local(first["as_of"])
        wrong = {rule: await self._on_lists(rule, "open") for rule in CHECKED}
        fixed = {rule: await self._on_lists(rule, "resolved") - wrong[rule] for rule in CHECKED}
        found = {rule: len(wrong[rule] | fixed[rule]) for rule in CHECKED}
        logins, amiss = first["counts"]["logins"] + found["orphan"], sum(found.values())
        left, others = found["still_active"], amiss - found["still_active"]
        put_right = sum(len(fixed[rule]) for rule in CHECKED if rule != "still_active")
        return [
            f"THE OLD SPREADSHEET, CHECKED ({as_of - timedelta(seconds=1):%B %Y})   "
            f"{_count(logins, 'login')}, {logins - amiss} right, {amiss} wrong",
            *_indent(
                [
                    f"{left} belonged to people who left"
                    f"{await self._longest_gone(as_of)}: "
                    f"{len(fixed['still_active'])} removed, seen on portal lists",
                    f"{found['shared']} shared, {found['orphan']} nobody's, "
                    f"{found['drift']} with the wrong functions: {put_right} of {others} fixed",
                ]
            ),
        ]

    async def _on_lists(self, rule: str, status: str) -> set[str]:
        """The logins of which sheets and portals' lists showed something, by their subjects."""
        found = await self._services.get(
            "provisioning", "/access/v1/portal-findings", rule=rule, status=status
        )
        return {each["subject"] for each in found["findings"]}

    async def _findings_of(self, rule: str) -> list[Mapping[str, Any]]:
        found = await self._services.get(
            "provisioning", "/access/v1/portal-findings", rule=rule, status="open"
        )
        findings: list[Mapping[str, Any]] = found["findings"]
        return findings

    async def _longest_gone(self, as_of: datetime) -> str:
        """Whose login outlived its holder the longest, by the portal's name and in months."""
        longest: tuple[timedelta, str] | None = None
        for status in ("open", "resolved"):
            found = await self._services.get(
                "provisioning", "/access/v1/portal-findings", rule="still_active", status=status
            )
            for each in found["findings"]:
                state = (await self._worker(each["worker"]))["state"]
                ended = [one["ends_at"] for one in state["employments"] if one["ends_at"]]
                if ended:
                    gone = as_of - self._local(max(ended))
                    longest = max(longest or (gone, each["portal"]), (gone, each["portal"]))
        if longest is None:
            return ""
        months = round(longest[0] / timedelta(days=MONTH_DAYS))
        name = self._portal_names.get(longest[1], longest[1])
        return f" (longest: {name}, {_count(months, 'month')})"

    async def _do_today(self, overview: Mapping[str, Any]) -> list[str]:
        items = await self._exposures(overview)
        items += await self._leaving_administrators()
        items += [
            f"NOBODY   administers {each['name']} for {', '.join(each['tins'])}: appoint somebody"
            for each in overview["portals_without_administrator"]
        ]
        items += [
            f'MAP      title "{each["title"]}" has no duty: '
            f"{_count(each['workers'], 'worker')} with it can use no portal"
            for each in overview["questions"]
        ]
        items += [
            f"ASK      {each['detail']}" for each in await self._findings_of("rule_contradicted")
        ]
        items += await self._lapsing()
        items += [
            f"HELD     {each['cause_id']} would take {each['parked']} of {each['held']}: "
            "release or reject it"
            for each in (await self._services.get("provisioning", "/access/v1/brake"))["causes"]
            if each["status"] == "engaged"
        ]
        items += await self._rotating()
        items += await self._held_lists()
        more = overview["work_open"]
        return [
            f"DO TODAY  {len(items)}, and {_count(more, 'work item')} in the queue",
            *_indent(items or ["nothing is overdue or exposed"]),
        ]

    async def _rotating(self) -> list[str]:
        """Logins that several people know and one of them must not know any more."""
        leaving: dict[str, list[Mapping[str, Any]]] = {}
        async for item in self._open_work("rotate"):
            leaving.setdefault(item["portal"], []).append(item)
        lines = []
        for portal, items in sorted(leaving.items()):
            found = await self._services.get(
                "provisioning", "/access/v1/who-had-access", portal=portal, at=self._now.isoformat()
            )
            names = " and ".join(item["worker_name"] or item["worker"] for item in items)
            stay = found["summary"]["people"] - len(items)
            lines.append(
                f"ROTATE   {items[0]['portal_name']} gives one login: {names} knew it,"
                f" {_count(stay, 'holder')} remain"
            )
        return lines

    async def _open_work(self, kind: str) -> AsyncIterator[Mapping[str, Any]]:
        async for item in self._services.pages(
            "provisioning", "/access/v1/work", "items", status="open"
        ):
            if item["kind"] == kind:
                yield item

    async def _held_lists(self) -> list[str]:
        """Lists of HR that lack so many people that a person must look."""
        lists = (await self._services.get("gateway", "/hr/v1/rosters"))["rosters"]
        return [
            f"HELD     HR's file {each['file']} lacked {each['counts']['missing']} people. Nobody"
            " lost access. Confirm or reject the file"
            for each in lists
            if each["status"] == "held"
        ]

    async def _lapsing(self) -> list[str]:
        """Logins that portals will disable within a week, a line for each portal."""
        clocks = await self._services.get("provisioning", "/access/v1/clocks", days=7, limit=500)
        by_portal: dict[str, list[Mapping[str, Any]]] = {}
        for lapse in clocks["lapses"]:
            if not lapse["lapsed"]:
                by_portal.setdefault(lapse["portal_name"], []).append(lapse)
        lines = []
        for name, lapses in sorted(by_portal.items()):
            told = sum(lapse["operation_id"] is not None for lapse in lapses)
            away = sum(lapse["status"] == "on_leave" for lapse in lapses)
            line = f"LAPSING  {name} disables {_count(len(lapses), 'login')} within a week"
            parts = [f"{told} with their holders"] if told else []
            parts += [f"{away} on leave: let lapse"] if away else []
            lines.append(line + (f" ({', '.join(parts)})" if parts else ""))
        return lines

    async def _exposures(self, overview: Mapping[str, Any]) -> list[str]:
        overdue = {item["operation_id"] for item in overview["overdue"]}
        by_worker: dict[str, list[Mapping[str, Any]]] = {}
        for exposure in overview["exposures"]:
            by_worker.setdefault(exposure["worker"], []).append(exposure)
        lines = []
        for worker, exposed in by_worker.items():
            found = await self._worker(worker)
            word = "OVERDUE" if overdue & {e["operation_id"] for e in exposed} else "EXPOSED"
            since = min(self._local(each["since"]) for each in exposed)
            owners = sorted({each["owner_name"] or each["owner"] or "nobody" for each in exposed})
            lines.append(
                f"{word}  {found['state']['name'] or worker}"
                f"{self._what_is_exposed(found, exposed, since)} "
                f"STILL OPEN {self._for(since)}, with {' and '.join(owners)}"
            )
        return _shortened(lines, "more people with open access")

    def _what_is_exposed(
        self, found: Mapping[str, Any], exposed: list[Mapping[str, Any]], since: datetime
    ) -> str:
        portals = " and ".join(sorted({each["portal_name"] for each in exposed}))
        ended = [
            self._local(each["ends_at"])
            for each in found["state"]["employments"]
            if each["ends_at"] and self._local(each["ends_at"]) <= self._now
        ]
        if found["state"]["status"] != "terminated" or not ended:
            functions = sorted({function for each in exposed for function in each["functions"]})
            return f" no longer needs {_words(functions)} at {portals}:"
        removed = {
            item["portal"]
            for item in found["operations"]
            if item["kind"] in REMOVAL_KINDS
            and item["status"] == "done"
            and self._local(item["requested_at"]) >= since
        } - {each["portal"] for each in exposed}
        # A last day is over at midnight: the moment before is still that day.
        left = max(ended) - timedelta(seconds=1)
        return (
            f" left {left:%a %-d %b}: {len(removed)} of {len(removed) + len(exposed)} portals "
            f"removed. {portals}"
        )

    async def _leaving_administrators(self) -> list[str]:
        lines = []
        async for item in self._open_work("appoint_successor"):
            found = await self._services.get("provisioning", f"/access/v1/workers/{item['worker']}")
            ends = [each["ends_at"] for each in found["state"]["employments"] if each["ends_at"]]
            when = f" leaves {self._local(max(ends)) - timedelta(seconds=1):%-d %b}" if ends else ""
            lines.append(
                f"SUCCEED  {item['portal_name']}'s only administrator, {item['worker_name']},"
                f"{when}: appoint a successor"
            )
        return lines

    async def _new_and_moved(self) -> list[str]:
        lines = []
        for kind, verb in (("worker.hired", "starts"), ("worker.changed", "moves")):
            for worker in await self._subjects(kind):
                found = await self._worker(worker)
                state = found["state"]
                event = self._latest(found["events"], kind)
                if event is None or not state["duties"]:
                    continue
                title = next(each["title"] for each in state["employments"] if each["open"])
                when = _day(self._local(event["effective_at"]), self._now)
                progress = self._progress(found)
                if kind == "worker.changed":
                    progress = _progress_of_functions(state) + await self._review_of(worker)
                lines.append(f"{state['name'] or worker}, {title}, {verb} {when}: {progress}")
        return ["NEW AND MOVED", *_indent(_shortened(lines, "more") or ["nobody this week"])]

    async def _worker(self, worker: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self._services.get(
            "provisioning", f"/access/v1/workers/{worker}"
        )
        return found

    async def _review_of(self, worker: str) -> str:
        """Who has been asked to review what a mover kept, if somebody still is."""
        async for review in self._services.pages(
            "review", "/review/v1/reviews", "reviews", worker=worker, status="open"
        ):
            if review["kind"] == "micro" and review["reviewer"]:
                reviewer = (await self._worker(review["reviewer"]))["state"]["name"]
                return f"; review with {reviewer or review['reviewer']}"
        return ""

    async def _subjects(self, kind: str) -> list[str]:
        """Workers with an event of this type in the audit log's latest page, newest first."""
        page = await self._services.get("audit", "/audit/v1/entries", type=kind, limit=100)
        return list(dict.fromkeys(each["subject"] for each in page["entries"] if each["subject"]))

    def _latest(self, events: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
        """The last such event that takes effect within a week of now, unless it was withdrawn."""
        week = timedelta(days=RECENT_DAYS)
        near = [
            event
            for event in events
            if event["type"] == kind
            and not event["rescinded"]
            and event["effective_at"]
            and abs(self._local(event["effective_at"]) - self._now) <= week
        ]
        return max(near, key=lambda event: str(event["effective_at"]), default=None)

    def _progress(self, found: Mapping[str, Any]) -> str:
        """How far the portals are that a worker shall have."""
        ready, training, registering, waiting = 0, 0, 0, 0
        steps = {item["operation_id"]: item["steps"] for item in found["operations"]}
        for access in found["state"]["portals"]:
            if not access["desired"] and not access["held"]:
                continue
            wanted = {(each["tin"], each["function"]) for each in access["desired"]}
            effective = {(each["tin"], each["function"]) for each in access["effective"]}
            if access["held"] and not wanted - effective:
                training += 1
            elif wanted <= effective:
                ready += 1
            elif any(
                _next_actor(steps.get(operation["operation_id"], ())) == "worker"
                for operation in access["operations"]
            ):
                registering += 1
            else:
                waiting += 1
        parts = [
            f"{number} {text}"
            for number, text in (
                (ready, "ready"),
                (registering, "to register by the worker"),
                (waiting, "with the administrator"),
                (training, "held for training"),
            )
            if number
        ]
        total = ready + training + registering + waiting
        return f"{_count(total, 'portal')}" + (f"; {', '.join(parts)}" if parts else "")

    async def _hr(self, overview: Mapping[str, Any]) -> list[str]:
        refused = await dead_letters(self._services)
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(refused.items()))
        total = sum(refused.values())
        return [
            *await self._last_good_lists(overview),
            f"HR    {_count(overview['counts']['events'], 'event')} accepted, {total} refused"
            + (f" ({reasons})" if reasons else ""),
        ]

    async def _last_good_lists(self, overview: Mapping[str, Any]) -> list[str]:
        """The last list of each source that was applied, and what is still asked."""
        questions = [
            f'title "{each["title"]}" has no duty: map it' for each in overview["questions"]
        ]
        asked = f" ({'; '.join(questions)})" if questions else ""
        sources = (await self._services.get("gateway", "/hr/v1/sources"))["sources"]
        return [
            f"HR    last good file {good['file']}, {self._local(good['received_at']):%a %H:%M}: "
            f"{_count(good['counts']['lines'], 'row')}, "
            f"{_count(good['counts']['change'], 'change')}, "
            f"{_count(len(questions), 'question')}{asked}"
            for source in sources
            if (good := source["last_good_list"]) is not None
        ]

    async def _reviews(self) -> list[str]:
        campaigns = (await self._services.get("review", "/review/v1/campaigns"))["campaigns"]
        if not campaigns:
            return ["REVIEW  none opened yet"]
        campaign = next((each for each in campaigns if each["calendar"]), campaigns[0])
        decided = campaign["lines"] - campaign["undecided"]
        removing = campaign["removal_decided"] + campaign["removal_ordered"]
        line = (
            f"REVIEW {campaign['title']}  {decided} of {campaign['lines']} lines decided, "
            f"{_count(campaign['reviewers'], 'reviewer')} asked, due "
            f"{self._last_day(campaign['due_at'])}"
        )
        if removing or campaign["removal_confirmed"]:
            line += f"; {campaign['removal_confirmed']} removed, {removing} on their way"
        if campaign["elsewhere"]:
            line += f"; {campaign['elsewhere']} left to reviews that ask about them already"
        return [line, *_indent(await self._micro_reviews()), *_indent(await self._unanswered())]

    def _last_day(self, due_at: str) -> str:
        """The day whose end something is due by."""
        return f"{self._local(due_at) - timedelta(seconds=1):%a %-d %b}"

    async def _micro_reviews(self) -> list[str]:
        """What changed about workers so that somebody has to look, and how often."""
        rules: dict[str, int] = {}
        async for review in self._services.pages("review", "/review/v1/reviews", "reviews"):
            if review["kind"] == "micro":
                rules[review["rule"]] = rules.get(review["rule"], 0) + 1
        if not rules:
            return []
        told = [f"{number} {rule.replace('_', ' ')}" for rule, number in sorted(rules.items())]
        return [f"CHANGED   {_count(sum(rules.values()), 'micro-review')}: {', '.join(told)}"]

    async def _unanswered(self) -> list[str]:
        """What followed where nobody answered in time: who is asked now, and what is gone."""
        passed_on: dict[tuple[str, str, str], set[str]] = {}
        async for review in self._services.pages(
            "review", "/review/v1/reviews", "reviews", status="open"
        ):
            if review["escalations"] and review["reviewer"]:
                key = (review["reason"], review["reviewer"], review["due_at"])
                passed_on.setdefault(key, set()).add(review["worker"])
        lines = [
            f"ESCALATED {reason}: nobody answered in time;"
            f" {(await self._worker(reviewer))['state']['name'] or reviewer} is asked about"
            f" {len(workers)} now, due {self._last_day(due_at)}"
            for (reason, reviewer, due_at), workers in sorted(passed_on.items())
        ]
        for campaign in (await self._services.get("review", "/review/v1/campaigns"))["campaigns"]:
            if campaign["no_answer"] != "remove" or not campaign["removal_confirmed"]:
                continue
            gone = campaign["removal_confirmed"]
            seen = await self._seen_gone(campaign["campaign_id"])
            lines.append(
                f"NO ANSWER {campaign['title']}: {_count(gone, 'function')} removed by policy;"
                f" {seen} seen gone on the portal's own list"
            )
        return lines

    async def _seen_gone(self, campaign_id: str) -> int:
        """Of what a campaign removed, how much the portal's own list shows to be gone."""
        seen = 0
        async for listed in self._services.pages(
            "review", "/review/v1/reviews", "reviews", campaign=campaign_id
        ):
            review = await self._services.get("review", f"/review/v1/reviews/{listed['review_id']}")
            portals = (await self._worker(review["worker"]))["state"]["portals"]
            now = {each["portal"]: each for each in portals}
            for line in review["lines"]:
                access = now.get(line["portal"])
                seen += (
                    line["status"] == "removal_confirmed"
                    and access is not None
                    and access["grade"] == "roster"
                    and not any(
                        (each["tin"], each["function"]) == (line["tin"], line["function"])
                        for each in access["effective"]
                    )
                )
        return seen

    def _removals(self, removals: Mapping[str, Any]) -> list[str]:
        line = (
            f"REMOVALS  {_count(removals['leavers'], 'leaver')}, "
            f"{_count(removals['ordered'], 'login')} to remove"
        )
        if removals["ordered_seconds_p99"] is not None:
            line += (
                f": 99% ordered within {_span(removals['ordered_seconds_p99'])} of hearing of it"
            )
        if removals["confirmed_minutes_median"] is not None:
            line += (
                f"; {removals['confirmed']} confirmed gone, half within "
                f"{_span(removals['confirmed_minutes_median'] * MINUTE)}"
            )
        return [f"{line}; {removals['open']} still open"]

    async def _auditor_asks(self, directory: Mapping[str, Any]) -> list[str]:
        """Who can see remittances at a portal, Medicare's where there is one."""
        serving = [
            portal
            for portal in directory["portals"]
            if any(REMITTANCE in reach["functions"] for reach in portal["reaches"])
        ]
        if not serving:
            return await self._log_verifies()
        portal = min(serving, key=lambda one: (one["kind"] != "mac", one["id"]))
        found = await self._services.get(
            "provisioning",
            "/access/v1/who-had-access",
            portal=portal["id"],
            function=REMITTANCE,
            at=self._now.isoformat(),
        )
        summary = found["summary"]
        grades = [f"{number} {GRADES[grade]}" for grade, number in summary["by_grade"].items()]
        people = summary["people"]
        told = "1 person" if people == 1 else f"{people:,} people"
        if grades:
            told += f": {', '.join(grades)}"
        approved = [
            f"{by['kind']} {by['reference'][:SHOWN_REFERENCE]} {each['people']}"
            if by
            else f"nobody {each['people']}"
            for each in summary["authorities"]
            for by in (each["authorized_by"],)
        ]
        if approved:
            told += f". Approved: {', '.join(approved)}"
        return [
            f"AN AUDITOR ASKS  who can see remittances at {portal['name']}, now?",
            *_indent([told, *await self._log_verifies()]),
        ]

    async def _log_verifies(self) -> list[str]:
        report = await verify_audit_log(self._services)
        if report.good:
            told = f"{report.entries:,} log entries verified, none altered or missing"
        else:
            wrong = report.first_wrong
            told = f"The audit log does NOT verify: {wrong.what if wrong else 'see the report'}"
        return [told]

    def _ways_on(self, overview: Mapping[str, Any]) -> list[str]:
        lines = []
        if self._installed.links:
            lines.append("OPEN  (each works once)")
            lines += _indent(
                f"{role.replace('_', ' '):14}{link}" for role, link in self._installed.links.items()
            )
        worker = next((each["worker"] for each in overview["exposures"]), None)
        listing = f"work list --worker {worker}" if worker else "work list"
        lines.append(f"TRY   {_command(listing)}    {_command('audit verify')}")
        lines.append(f"      {_command('demo leaver')}    dismiss a biller, see the work arrive")
        return lines

    # -- words

    def _local(self, instant: str) -> datetime:
        return datetime.fromisoformat(instant).astimezone(self._zone)

    def _for(self, since: datetime) -> str:
        return _span((self._now - since).total_seconds())


def _progress_of_functions(state: Mapping[str, Any]) -> str:
    """What works, what is on its way and what waits for training, by function."""

    def functions(which: str) -> set[str]:
        return {each["function"] for access in state["portals"] for each in access[which]}

    works, wanted, held = functions("effective"), functions("desired"), functions("held")
    parts = [
        f"{_words(sorted(part - {'sign_on'}))} {text}"
        for part, text in (
            (works & wanted, "open"),
            (wanted - works, "on the way"),
            (held - wanted, "after training"),
        )
        if part - {"sign_on"}
    ]
    return "; ".join(parts) or "needs no portal"


def _words(functions: Iterable[str]) -> str:
    return ", ".join(function.replace("_", " ") for function in functions)


def _next_actor(steps: Iterable[Mapping[str, Any]]) -> str | None:
    return next((step["actor"] for step in steps if step["done_at"] is None), None)


def _command(arguments: str) -> str:
    """A command line that works in this shell, whether or not the environment is activated."""
    if shutil.which("portalkeeper"):
        return f"portalkeeper {arguments}"
    command = Path(sys.executable).with_name("portalkeeper")
    here = Path.cwd()
    return f"{command.relative_to(here) if command.is_relative_to(here) else command} {arguments}"


def _day(when: datetime, now: datetime) -> str:
    days = (when.date() - now.date()).days
    if days == 0:
        return "today"
    return f"{when:%a %-d %b}"


def _span(seconds: float) -> str:
    """A length of time in its largest fitting unit."""
    if seconds < 1:
        return "1 s"
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    if seconds < 4 * DAY:
        return f"{seconds / HOUR:.0f} h"
    return f"{seconds / DAY:.0f} d"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _shortened(lines: list[str], what: str) -> list[str]:
    left = len(lines) - LINES_PER_PART
    return [*lines[:LINES_PER_PART], f"{left} {what}"] if left > 0 else lines


def _indent(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
