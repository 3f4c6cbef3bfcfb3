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
from services.gateway.console.pages import Text
from services.gateway.console.planned import Json, in_force, many, named, number, planned, put
from services.gateway.console.view import path
from services.gateway.console.visitor import Console, Visitor
from shared.contracts.directory import FINANCIAL, RULE_TYPES, Function, Portal, RuleName
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

    async def portal_names(visitor: Visitor) -> dict[str, str]:
        return named(await in_force(console, visitor), "portals")

    @router.get("/directory")
    async def directory(request: Request) -> Response:
        """Portals and carriers as they are in force."""
        visitor = await console.visitor(request, "directory:read", "access:read")
        return await _show_directory(request, visitor)

    async def _show_directory(
        request: Request,
        visitor: Visitor,
        *,
        problem: Problem | None = None,
        typed: Mapping[str, Any] | None = None,
    ) -> Response:
        found, plans = await asyncio.gather(in_force(console, visitor), plans_of(visitor))
        return console.page(
            request,
            "directory.html",
            status=problem.status if problem else 200,
            found=found,
            plans=[each for each in plans if each["status"] == "proposed"],
            site_names=named(found, "sites"),
            problem=problem,
            typed=typed or {},
            fresh_key=fresh_key,
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
        found, enrolments = await asyncio.gather(
            in_force(console, visitor),
            services.get(visitor.principal, "provisioning", "/access/v1/enrolments"),
        )
        known = _portal(found, portal)
        return console.page(
            request,
            "portal.html",
            status=problem.status if problem else 200,
            found=found,
            p=known,
            enrolments=[e for e in enrolments["enrolments"] if e["portal"] == portal],
            rule_names=sorted(RULE_TYPES),
            expected=_expected_administrators(known),
            problem=problem,
            typed=typed or {},
            fresh_key=fresh_key,
        )

    @router.get("/policy")
    async def policy(request: Request) -> Response:
        """Job duties, titles, separations, and what waits for approval."""
        visitor = await console.visitor(request, "access:read", "access:admin", "policy:approve")
        return await _show_policy(request, visitor)

    async def _show_policy(
        request: Request,
        visitor: Visitor,
        *,
        problem: Problem | None = None,
        typed: Mapping[str, Any] | None = None,
    ) -> Response:
        found, plans, questions = await asyncio.gather(
            in_force(console, visitor), plans_of(visitor), questions_of(visitor)
        )
        return console.page(
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
            problem=problem,
            typed=typed or {},
            fresh_key=fresh_key,
        )

    # -- forms that make a plan

    @router.post("/policy/{what}")
    async def change_policy(request: Request, what: str) -> Response:
        """Map a title, change a duty or a separation."""
        visitor = await console.visitor(request, "access:admin")
        form = await console.form(request, visitor, f"directory.{what}")
        try:
            edits = _policy_edit(what, form, await in_force(console, visitor))
            return await planned(console, visitor, what, edits)
        except Problem as problem:
            await console.doorkeeper.record_command(
                visitor.session, f"directory.{what}", request.url.path, problem
            )
            return await _show_policy(request, visitor, problem=problem, typed=dict(form))

    @router.post("/directory/contracts")
    async def change_contract(request: Request) -> Response:
        """Enter a contract, or change its dates."""
        visitor = await console.visitor(request, "access:admin")
        form = await console.form(request, visitor, "directory.contract")
        try:
            value = {
                "carrier": form_text(form, "carrier"),
                "tins": many(form, "tins"),
                "sites": many(form, "sites"),
                "since": form_text(form, "since"),
                "until": form_text(form, "until") or None,
                "grace_days": number(form, "grace_days") or 0,
            }
            edits = put("contract", form_text(form, "id"), value)
            return await planned(console, visitor, "contract", edits)
        except Problem as problem:
            return await _show_directory(request, visitor, problem=problem, typed=dict(form))

    @router.post("/directory/portals/{portal}/{what}")
    async def change_portal(request: Request, portal: str, what: str) -> Response:
        """Correct a rule of a portal, or enter an enrolment or an administrator."""
        visitor = await console.visitor(request, "access:admin")
        form = await console.form(request, visitor, f"directory.{what}")
        found = await in_force(console, visitor)
        try:
            edits = _portal_edit(what, _portal(found, portal), form)
            return await planned(console, visitor, what, edits)
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
        return console.page(
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
        return console.page(
            request,
            "plan.html",
            status=problem.status if problem else 200,
            plan=found,
            effects=[
                {**each, "gains": by_portal(each["gains"]), "loses": by_portal(each["loses"])}
                for each in effects["effects"]
            ],
            names=await portal_names(visitor),
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
        return console.page(request, "catalogue.html", portals=found["portals"], entry=None)

    @router.get("/catalogue/{entry}")
    async def catalogue_entry(request: Request, entry: str) -> Response:
        """One entry, whole."""
        visitor = await console.visitor(request, "directory:read", "access:read")
        found = await services.get(
            visitor.principal, "provisioning", f"/access/v1/catalogue/{path(entry)}"
        )
        return console.page(request, "catalogue.html", portals=[], entry=found)

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


def _policy_edit(what: str, form: FormData, found: Json | None) -> Json:
    """What a form about the policy asks of the directory."""
    id_ = form_text(form, "id")
    policy: Json = found["directory"]["policy"] if found else {}
    match what:
        case "title":
            return put("title", id_, {"duties": many(form, "duties")})
        case "remove-title":
            return {"remove": [{"kind": "title", "id": id_}]}
        case "duty":
            value: Json = {
                "name": form_text(form, "name"),
                "functions": many(form, "functions"),
                "front_office": form_text(form, "front_office") == "yes",
            }
            return put("job_duty", id_, value)
        case "separation":
            rule = {
                "id": id_,
                "holders": {"duties": many(form, "holders")},
                "never": {"functions": many(form, "never")},
                "reason": form_text(form, "reason"),
                "enforced": form_text(form, "enforced") == "yes",
            }
            rest = [each for each in policy.get("separation", []) if each["id"] != id_]
            return put("policy", "policy", {"separation": [*rest, rule]})
        case "training":
            value = {
                "name": form_text(form, "name"),
                "owner": form_text(form, "owner"),
                "version": form_text(form, "version"),
                "link": form_text(form, "link") or None,
                "portals": many(form, "portals"),
                "functions": many(form, "functions"),
                "valid_days": number(form, "valid_days") or None,
            }
            return put("training_module", id_, _kept(found, id_, value))
        case "signature":
            value = {
                "version": form_text(form, "version"),
                "signatory": form_text(form, "signatory"),
                "signed_on": form_text(form, "signed_on"),
                "mover_grace_days": number(form, "mover_grace_days") or 0,
            }
            return put("policy", "policy", value)
    raise Problem(404, "no_such_command", "There is no such command.")


def _kept(found: Json | None, id_: str, value: Json) -> Json:
    """A training module with what the form does not ask: whom it grandfathers."""
    modules = found["directory"].get("training_modules", []) if found else []
    known: Json = next((each for each in modules if each["id"] == id_), {})
    kept = ("grandfathers_hired_before", "grandfathered_until")
    return {**{name: known[name] for name in kept if name in known}, **value}


def _portal_edit(what: str, portal: Json, form: FormData) -> Json:
    """What a form about a portal asks of the directory."""
    if what == "rule":
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
        value = {**portal, "rules": [*rest, row]}
        return put("portal", portal["id"], value)
    if what == "enrolment":
        value = {
            "portal": portal["id"],
            "tin": form_text(form, "tin"),
            "owner": form_text(form, "owner") or None,
        }
        return put("enrolment", form_text(form, "id"), value)
    if what == "administrator":
        value = {
            "portal": portal["id"],
            "worker": form_text(form, "worker"),
            "tins": many(form, "tins"),
            "since": form_text(form, "since"),
            "deputy": form_text(form, "deputy") or None,
            "signed_by": form_text(form, "signed_by") or None,
        }
        return put("administrator", form_text(form, "id"), value)
    raise Problem(404, "no_such_command", "There is no such command.")


def _typed(rule: str, said: str) -> bool | int | str | None:
    """The value of a rule as its type has it; what does not fit is refused by provisioning."""
    if not said:
        return None
    if RULE_TYPES.get(rule) is bool and said.casefold() in ("yes", "true", "no", "false"):
        return said.casefold() in ("yes", "true")
    if RULE_TYPES.get(rule) is int and said.isdigit():
        return int(said)
    return said
