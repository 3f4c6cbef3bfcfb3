"""What a reviewer does: their desk, one review to decide on, many lines at once, questions."""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from services.gateway.console.commands import Order, carry_out, form_text, fresh_key
from services.gateway.console.pages import PAGE_ROWS, Text
from services.gateway.console.view import path, with_query
from services.gateway.console.visitor import Console, Visitor
from shared.errors import Problem

DECISION = "decision:"
"""Radio buttons are called this and the line's id."""

DECIDES = ("review:decide", "review:admin")
LOOKS = ("access:read", "audit:read")
SHOWN_OF_LINE = (
    "review_id",
    "portal",
    "tin",
    "duties",
    "authorized_by",
    "login",
    "risks",
    "recommendation",
    "changed",
)
"""What lines have in common of which a page of many lines shows the functions together."""

WHERE = ("campaign_id", "review_id", "worker", "portal", "function", "advice")

SAID = {
    "decide": "Your decisions are recorded. They can be changed until the review closes.",
    "bulk": "Decided. Each decision can be changed until its review closes.",
    "ask": "Asked. The line stays yours to decide; the answer appears here.",
    "answer": "Your answer went back to whoever asked.",
    "not-mine": "It went to the next by rule, and is not yours any more.",
    "reduce": "Reduced: what you kept stays, the rest is ordered away.",
    "delegate": "They decide in your place on those days, and so can you.",
    "end": "Ended. Nobody decides in your place any more.",
}


def routes(console: Console) -> APIRouter:
    """The reviews."""
    router = APIRouter(prefix="/reviews")
    services = console.services

    @router.get("")
    async def desk(
        request: Request,
        status: Text = "open",
        worker: Text = "",
        cursor: Text = "",
        did: Text = "",
    ) -> Response:
        """What waits for the visitor: reviews, questions, and who decides in their place."""
        visitor = await console.visitor(request, *DECIDES, *LOOKS)
        who = visitor.principal
        if not who.may(*DECIDES):
            return RedirectResponse("/reviews/campaigns", status_code=303)
        asked = {"status": status, "worker": worker, "cursor": cursor, "limit": PAGE_ROWS}

        async def easy_lines() -> int:
            # Whoever manages reviews would be shown everybody's, and decides about nobody's.
            if status != "open" or who.may("review:admin"):
                return 0
            route = "/review/v1/lines/count"
            count: int = (await services.get(who, "review", route, {"advice": "keep"}))["count"]
            return count

        found, questions, covers, easy = await asyncio.gather(
            services.get(who, "review", "/review/v1/reviews", asked),
            services.get(who, "review", "/review/v1/questions"),
            services.get(who, "review", "/review/v1/delegations"),
            easy_lines(),
        )
        return await console.page(
            request,
            "reviews.html",
            found=found,
            status_shown=status,
            questions=questions["questions"],
            covers=covers["delegations"],
            easy=easy,
            said=SAID.get(did),
            fresh_key=fresh_key,
        )

    @router.get("/bulk")
    async def look_at_many(request: Request, decision: Text = "keep") -> Response:
        """The lines that a bulk decision would be about, to be confirmed."""
        visitor = await console.visitor(request, *DECIDES)
        where = _where(dict(request.query_params))
        return await _confirm(request, visitor, where, decision)

    async def _confirm(
        request: Request,
        visitor: Visitor,
        where: dict[str, str],
        decision: str,
        *,
        problem: Problem | None = None,
        reason: str = "",
    ) -> Response:
        found = await services.get(visitor.principal, "review", "/review/v1/lines", where)
        return await console.page(
            request,
            "review_bulk.html",
            status=problem.status if problem else 200,
            found=found,
            rows=_alike(found["lines"]),
            narrower=narrower(where, found["lines"]) if found["too_many"] else (),
            asks_why=any(line["keep_needs_reason"] for line in found["lines"]),
            where=where,
            decision="remove" if decision == "remove" else "keep",
            problem=problem,
            reason=reason,
            fresh_key=fresh_key,
        )

    @router.post("/bulk")
    async def decide_many(request: Request) -> Response:
        """Decide on as many lines as were shown."""
        visitor = await console.visitor(request, *DECIDES)
        form = await console.form(request, visitor, "review.decide_in_bulk")
        where = _where({name: form_text(form, name) for name in WHERE})
        decision, reason = form_text(form, "decision"), form_text(form, "reason")
        try:
            count = form_text(form, "count")
            if not count.isdigit():
                raise Problem(422, "count_missing", "Open the page again and confirm the number.")
            await services.post(
                visitor.principal,
                "review",
                "/review/v1/decisions",
                {
                    "where": where,
                    "decision": decision,
                    "reason": reason or None,
                    "count": int(count),
                },
                form_text(form, "key") or fresh_key(),
            )
        except Problem as problem:
            return await _confirm(request, visitor, where, decision, problem=problem, reason=reason)
        return RedirectResponse("/reviews?did=bulk", status_code=303)

    @router.post("/questions/{question_id}/answer")
    async def answer(request: Request, question_id: str) -> Response:
        """Answer what one was asked."""

        def read(form: FormData, _zone: ZoneInfo) -> Order:
            body = {name: form_text(form, name) for name in ("advice", "answer")}
            route = f"/review/v1/questions/{path(question_id)}/answer"
            back = with_query(form_text(form, "back") or "/reviews", did="answer")
            return Order(route, body, question_id, back, "review")

        scopes = (*DECIDES, "directory:read")
        return await carry_out(console, request, scopes, "review.answer", read)

    @router.get("/questions")
    async def questions(request: Request, did: Text = "") -> Response:
        """Questions for somebody who reviews nothing themselves."""
        visitor = await console.visitor(request, *DECIDES, "directory:read")
        found = await services.get(visitor.principal, "review", "/review/v1/questions")
        return await console.page(
            request,
            "review_questions.html",
            questions=found["questions"],
            said=SAID.get(did),
            fresh_key=fresh_key,
        )

    @router.post("/delegations")
    async def delegate(request: Request) -> Response:
        """Have somebody decide in one's place."""

        def read(form: FormData, _zone: ZoneInfo) -> Order:
            names = ("delegate", "since", "until", "reviewer")
            body = {name: form_text(form, name) or None for name in names}
            target = body["delegate"] or ""
            return Order("/review/v1/delegations", body, target, "/reviews?did=delegate", "review")

        return await carry_out(console, request, DECIDES, "review.delegate", read)

    @router.post("/delegations/{delegation_id}/end")
    async def end(request: Request, delegation_id: str) -> Response:
        """End it early."""

        def read(_form: FormData, _zone: ZoneInfo) -> Order:
            route = f"/review/v1/delegations/{path(delegation_id)}/end"
            return Order(route, {}, delegation_id, "/reviews?did=end", "review")

        return await carry_out(console, request, DECIDES, "review.delegate", read)

    @router.get("/{review_id}")
    async def review(request: Request, review_id: str, did: Text = "") -> Response:
        """One review with its lines."""
        visitor = await console.visitor(request, *DECIDES)
        return await _show(request, visitor, review_id, said=SAID.get(did))

    async def _show(
        request: Request,
        visitor: Visitor,
        review_id: str,
        *,
        said: str | None = None,
        problem: Problem | None = None,
        typed: dict[str, Any] | None = None,
    ) -> Response:
        found = await services.get(
            visitor.principal, "review", f"/review/v1/reviews/{path(review_id)}"
        )
        return await console.page(
            request,
            "review.html",
            status=problem.status if problem else 200,
            review=found,
            reducible=_reducible(found["lines"]),
            said=said,
            problem=problem,
            typed=typed or {},
            fresh_key=fresh_key,
        )

    @router.post("/{review_id}")
    async def decide(request: Request, review_id: str) -> Response:
        """Decide on the lines that were ticked, all or none."""
        visitor = await console.visitor(request, *DECIDES)
        form = await console.form(request, visitor, "review.decide")
        decisions = _decisions(form)
        try:
            if not decisions:
                raise Problem(
                    422, "nothing_decided", "Choose keep or remove on at least one line first."
                )
            decided = await services.post(
                visitor.principal,
                "review",
                f"/review/v1/reviews/{path(review_id)}/decisions",
                {"decisions": decisions},
                form_text(form, "key") or fresh_key(),
            )
        except Problem as problem:
            if problem.status == 404:
                raise
            return await _show(request, visitor, review_id, problem=problem, typed=dict(form))
        # Another one, if this one was closed.
        return RedirectResponse(
            f"/reviews/{path(decided['review_id'])}?did=decide", status_code=303
        )

    @router.post("/{review_id}/{move}")
    async def pass_on(
        request: Request, review_id: str, move: Literal["ask", "not-mine", "reduce"]
    ) -> Response:
        """Ask somebody, pass the review on, or reduce what is held on one portal."""

        def read(form: FormData, _zone: ZoneInfo) -> Order:
            route = f"/review/v1/reviews/{path(review_id)}"
            back = f"/reviews/{path(review_id)}?did={move}"
            if move == "ask":
                body: dict[str, Any] = {
                    "line_ids": [form_text(form, "line")],
                    "worker": form_text(form, "worker"),
                    "question": form_text(form, "question"),
                }
                return Order(f"{route}/questions", body, review_id, back, "review")
            if move == "reduce":
                portal, _, tin = form_text(form, "where").rpartition(" ")
                body = {
                    "portal": portal,
                    "tin": tin,
                    "functions": [str(each) for each in form.getlist("function")],
                    "reason": form_text(form, "reason"),
                }
                return Order(f"{route}/reductions", body, review_id, back, "review")
            body = {"reason": form_text(form, "reason")}
            return Order(f"{route}/not-mine", body, review_id, "/reviews?did=not-mine", "review")

        return await carry_out(console, request, DECIDES, f"review.{move}", read)

    return router


def _where(given: dict[str, str]) -> dict[str, str]:
    return {name: given[name] for name in WHERE if given.get(name)}


def narrower(where: dict[str, str], lines: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """What to ask for instead of too many lines: those at one portal, or for one function there."""
    name = "function" if "portal" in where else "portal"
    found = sorted({line[name] for line in lines if line[name]})
    return [{**where, name: value} for value in found]


def _alike(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines in their order, those next to each other as one that differ in their function alone."""
    rows = []
    for _, group in groupby(lines, lambda line: [line[name] for name in SHOWN_OF_LINE]):
        alike = list(group)
        rows.append({**alike[0], "functions": [line["function"] for line in alike]})
    return rows


def _decisions(form: FormData) -> list[dict[str, Any]]:
    decisions = []
    for name, value in form.items():
        if name.startswith(DECISION) and value in ("keep", "remove"):
            line = name.removeprefix(DECISION)
            reason = form_text(form, f"reason:{line}") or None
            decisions.append({"line_id": line, "decision": value, "reason": reason})
    return decisions


def _reducible(lines: list[dict[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """The functions to choose among, where several on one portal can be decided on."""
    functions: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line["decidable"]:
            functions.setdefault((line["portal"], line["tin"]), []).append(line["function"])
    return {where: names for where, names in functions.items() if len(names) > 1}
