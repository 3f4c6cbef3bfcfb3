"""Portals and carriers, the policy, and plans that change them: what a file says, on pages.

Nothing is changed by a form at once: each makes a plan, whose page shows what it changes and for
whom, before anybody applies, proposes or approves it.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from services.gateway.console.commands import form_text, fresh_key
from services.gateway.console.forms import OPTIONS
from services.gateway.console.pages import Text
from services.gateway.console.planned import Json, in_force, many, named, planned, put
from services.gateway.console.view import path
from services.gateway.console.visitor import Console, Visitor
from shared.contracts.directory import FINANCIAL, RULE_TYPES, Function, Portal, RuleName
from shared.contracts.review_policy import ReviewPolicy
from shared.errors import Problem

EFFECTS_SHOWN = "200"


def routes(console: Console) -> APIRouter:
    """The pages and their forms."""
    router = APIRouter()
    services = console.services

    async def plans_of(visitor: Visitor) -> list[Json]:
        if not visitor.principal.may("access:read", "access:admin", "policy:approve"):
            return []
        found = await services.get(visitor.principal, "provisioning", "/access/v1/directory/plans")
        plans: list[Json] = found["plans"]
        return plans

    async def questions_of(visitor: Visitor) -> list[Json]:
        """Titles without a duty."""
        if not visitor.principal.may("access:read", "access:admin"):
            return []
        found = await services.get(visitor.principal, "provisioning", "/access/v1/questions")
        asked: list[Json] = found["questions"]
        return asked

    @router.get("/directory")
    async def directory(request: Request) -> Response:
        """Portals and carriers as they are in force."""
        visitor = await console.visitor(request, "directory:read", "access:read")
        found, plans = await asyncio.gather(in_force(console, visitor), plans_of(visitor))
        return await console.page(
            request,
            "directory.html",
            found=found,
            plans=[each for each in plans if each["status"] == "proposed"],
            site_names=named(found, "sites"),
        )

    @router.get("/directory/portals/{portal}")
    async def portal(request: Request, portal: str) -> Response:
        """One portal: what it offers, its own rules with their source, who administers it."""
        visitor = await console.visitor(request, "directory:read", "access:read")
        return await _show_portal(request, visitor, portal)

    async def _show_portal(
        request: Request,
        visitor: Visitor,
        portal: str,
        *,
        problem: Problem | None = None,
        typed: Mapping[str, Any] | None = None,
    ) -> Response:
        async def unadministered() -> list[str]:
            if not visitor.principal.may("access:read", "access:admin"):
                return []
            route = f"/access/v1/portals/{path(portal)}/standing"
            standing = await services.get(visitor.principal, "provisioning", route)
            tins: list[str] = standing["unadministered"]
            return tins

        found, enrolments, without = await asyncio.gather(
            in_force(console, visitor),
            services.get(visitor.principal, "provisioning", "/access/v1/enrolments"),
            unadministered(),
        )
        known = _portal(found, portal)
        return await console.page(
            request,
            "portal.html",
            status=problem.status if problem else 200,
            found=found,
            p=known,
            enrolments=[e for e in enrolments["enrolments"] if e["portal"] == portal],
            rule_names=sorted(RULE_TYPES),
            expected=_expected_administrators(known),
            unadministered=without,
            problem=problem,
            typed=typed or {},
            fresh_key=fresh_key,
        )

    @router.get("/policy")
    async def policy(request: Request) -> Response:
        """Job duties, titles, separations, reviews, and what waits for approval."""
        visitor = await console.visitor(request, "access:read", "access:admin", "policy:approve")
        return await _show_policy(request, visitor)

    async def _show_policy(
        request: Request, visitor: Visitor, *, problem: Problem | None = None
    ) -> Response:
        found, plans, questions = await asyncio.gather(
            in_force(console, visitor), plans_of(visitor), questions_of(visitor)
        )
        reviews = found["directory"].get("reviews") if found else None
        return await console.page(
            request,
            "policy.html",
            status=problem.status if problem else 200,
            found=found,
            questions=questions,
            plans=plans,
            duty_names=named(found, "job_duties"),
            portal_names=named(found, "portals"),
            functions=[each.value for each in Function if each is not Function.SIGN_ON],
            financial=[each.value for each in FINANCIAL],
            reviews=ReviewPolicy.model_validate(reviews or {}).model_dump(),
            scope_names={part: named(found, part) for part in ("sites", "carriers", "portals")},
            OPTIONS=OPTIONS,
            problem=problem,
            fresh_key=fresh_key,
        )

    # -- forms that make a plan

    @router.post("/policy/title")
    async def map_title(request: Request) -> Response:
        """Say what a title does; with no duty, that it needs no portal."""
        visitor = await console.visitor(request, "access:admin")
        form = await console.form(request, visitor, "directory.title")
        try:
            edits = put("title", form_text(form, "id"), {"duties": many(form, "duties")})
            return await planned(console, visitor, "title", edits)
        except Problem as problem:
            await console.doorkeeper.record_command(
                visitor.session, "directory.title", request.url.path, problem
            )
            return await _show_policy(request, visitor, problem=problem)

    @router.post("/directory/portals/{portal}/rule")
    async def correct_rule(request: Request, portal: str) -> Response:
        """Correct a rule of a portal, or add one."""
        visitor = await console.visitor(request, "access:admin")
        form = await console.form(request, visitor, "directory.rule")
        found = await in_force(console, visitor)
        try:
            edits = _with_rule(_portal(found, portal), form)
            return await planned(console, visitor, "rule", edits)
        except Problem as problem:
            return await _show_portal(request, visitor, portal, problem=problem, typed=dict(form))

    @router.get("/directory/file")
    async def file(request: Request) -> Response:
        """The directory as a file: to take away, or to put in."""
        visitor = await console.visitor(request, "access:read", "access:admin")
        return await _show_file(request, visitor)

    async def _show_file(
        request: Request,
        visitor: Visitor,
        *,
        problem: Problem | None = None,
        text: str | None = None,
    ) -> Response:
        exported = ""
        if text is None and await in_force(console, visitor) is not None:
            found = await services.get(
                visitor.principal, "provisioning", "/access/v1/directory/export"
            )
            exported = found["file"]
        return await console.page(
            request,
            "directory_file.html",
            status=problem.status if problem else 200,
            text=text if text is not None else exported,
            problem=problem,
        )

    @router.post("/directory/file")
    async def plan_file(request: Request) -> Response:
        """Plan what was typed or pasted."""
        visitor = await console.visitor(request, "access:admin")
        form = await console.form(request, visitor, "directory.plan")
        text = str(form.get("file", ""))
        try:
            made = await services.post(
                visitor.principal,
                "provisioning",
                "/access/v1/directory/plans",
                {"file": text.replace("\r\n", "\n")},
                fresh_key(),
            )
        except Problem as problem:
            return await _show_file(request, visitor, problem=problem, text=text)
        await console.doorkeeper.record_command(visitor.session, "directory.plan", made["plan"])
        return RedirectResponse(f"/plans/{path(made['plan'])}", status_code=303)

    # -- plans

    @router.get("/plans/{plan}")
    async def plan(request: Request, plan: str, did: Text = "") -> Response:
        """What a plan changes, and for whom."""
        visitor = await console.visitor(request, "access:read", "access:admin", "policy:approve")
        return await _show_plan(request, visitor, plan, did=did)

    async def _show_plan(
        request: Request,
        visitor: Visitor,
        plan: str,
        *,
        did: str = "",
        problem: Problem | None = None,
    ) -> Response:
        route = f"/access/v1/directory/plans/{path(plan)}"
        found = await services.get(visitor.principal, "provisioning", route)
        effects = await services.get(
            visitor.principal, "provisioning", f"{route}/effects", {"limit": EFFECTS_SHOWN}
        )
        return await console.page(
            request,
            "plan.html",
            status=problem.status if problem else 200,
            plan=found,
            effects=[
                {**each, "gains": by_portal(each["gains"]), "loses": by_portal(each["loses"])}
                for each in effects["effects"]
            ],
            more=effects["next_cursor"] is not None,
            did=did,
            problem=problem,
            own=found["proposed_by"] == visitor.principal.subject,
            fresh_key=fresh_key,
        )

    @router.post("/plans/{plan}/{command}")
    async def decide(request: Request, plan: str, command: str) -> Response:
        """Apply, propose, approve or reject."""
        visitor = await console.visitor(request, "access:admin", "policy:approve")
        if command not in ("apply", "approve", "reject"):
            raise Problem(404, "no_such_command", "There is no such command.")
        form = await console.form(request, visitor, f"directory.{command}")
        body = {"reason": form_text(form, "reason")} if command == "reject" else {}
        try:
            answer = await services.post(
                visitor.principal,
                "provisioning",
                f"/access/v1/directory/plans/{path(plan)}/{command}",
                body,
                form_text(form, "key") or fresh_key(),
            )
        except Problem as problem:
            return await _show_plan(request, visitor, plan, problem=problem)
        return RedirectResponse(f"/plans/{path(plan)}?did={answer['status']}", status_code=303)

    # -- the catalogue

    @router.get("/catalogue")
    async def catalogue(request: Request) -> Response:
        """The shipped catalogue of portals."""
        visitor = await console.visitor(request, "directory:read", "access:read")
        found = await services.get(visitor.principal, "provisioning", "/access/v1/catalogue")
        return await console.page(request, "catalogue.html", portals=found["portals"], entry=None)

    @router.get("/catalogue/{entry}")
    async def catalogue_entry(request: Request, entry: str) -> Response:
        """One entry, whole."""
        visitor = await console.visitor(request, "directory:read", "access:read")
        found = await services.get(
            visitor.principal, "provisioning", f"/access/v1/catalogue/{path(entry)}"
        )
        return await console.page(request, "catalogue.html", portals=[], entry=found)

    return router


def by_portal(rights: list[list[str]]) -> list[tuple[str, str, list[str]]]:
    """Rights as (portal, TIN, functions), so that a person reads a line per portal."""
    found: dict[tuple[str, str], list[str]] = {}
    for portal, tin, function in rights:
        found.setdefault((portal, tin), []).append(function)
    return [(portal, tin, functions) for (portal, tin), functions in found.items()]


def _portal(found: Json | None, portal: str) -> Json:
    for each in found["directory"]["portals"] if found else ():
        if each["id"] == portal:
            known: Json = each
            return known
    raise Problem(404, "no_such_portal", "The directory has no such portal.")


def _expected_administrators(portal: Json) -> int:
    """How many administrators the portal itself expects; two, where it does not say."""
    known = Portal.model_validate(portal)
    return known.number(RuleName.EXPECTED_ADMINISTRATORS, datetime.now(UTC).date()) or 2


def _with_rule(portal: Json, form: FormData) -> Json:
    """What the form about a portal's rules asks of the directory."""
    row = {
        "rule": form_text(form, "rule"),
        "value": _typed(form_text(form, "rule"), form_text(form, "value")),
        "source": form_text(form, "source"),
        "verified_on": form_text(form, "verified_on") or None,
        "effective_from": form_text(form, "effective_from") or None,
        "confirmed": form_text(form, "confirmed") == "yes",
    }
    rest = [
        each
        for each in portal.get("rules", [])
        if (each["rule"], each.get("effective_from")) != (row["rule"], row["effective_from"])
    ]
    return put("portal", portal["id"], {**portal, "rules": [*rest, row]})


def _typed(rule: str, said: str) -> bool | int | str | None:
    """The value of a rule as its type has it; what does not fit is refused by provisioning."""
    if not said:
        return None
    if RULE_TYPES.get(rule) is bool and said.casefold() in ("yes", "true", "no", "false"):
        return said.casefold() in ("yes", "true")
    if RULE_TYPES.get(rule) is int and said.isdigit():
        return int(said)
    return said
