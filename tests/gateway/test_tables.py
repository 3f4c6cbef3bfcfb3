"""A table on a page and the file made of it say the same."""

import csv
import io

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from services.gateway.console.tables import Tables

ROW = """<tr><th scope="row"><a href="/x">{name}</a> <span class="under mono">W-1</span></th>
<td data-name="State"><span class="state"><i aria-hidden="true">●</i>active</span></td>
<td><time datetime="2026-03-14T09:00:00+00:00" title="t">14 Mar 02:00</time></td>
<td>a<br>b<button>Claim</button><svg><text>9</text></svg></td></tr>"""
HEAD = "<thead><tr><th>Name</th><th>State</th><th>Since</th><th>Why</th></tr></thead>"
PAGES = {"": ("Ada &amp; Bo", "2"), "2": ("=1+1", "3"), "3": ("Çelik", "")}


async def page(cursor: str = "", query: str = "") -> Response:
    name, after = PAGES[cursor]
    link = f'<a rel="next" href="/people?query={query}&amp;cursor={after}">Next page</a>'
    return HTMLResponse(
        f"<table><tr><td>other</td></tr></table><h2>{query}</h2>"
        f"<table>{HEAD}<tbody>{ROW.format(name=name)}</tbody></table>{link if after else ''}"
    )


async def signed_out() -> Response:
    return RedirectResponse("/sign-in", status_code=303)


@pytest.fixture
def http() -> httpx.AsyncClient:
    app = FastAPI()
    app.add_middleware(Tables)
    app.get("/people")(page)
    app.get("/work")(signed_out)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://console")


def rows(answer: httpx.Response) -> list[list[str]]:
    return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))


async def test_a_table_is_written_out_with_every_page_that_follows(http: httpx.AsyncClient) -> None:
    answer = await http.get("/people?query=x&table=2")
    assert answer.headers["content-disposition"] == 'attachment; filename="people.csv"'
    assert rows(answer) == [
        ["Name", "State", "Since", "Why"],
        ["Ada & Bo; W-1", "active", "2026-03-14T09:00:00+00:00", "a; b"],
        ["'=1+1; W-1", "active", "2026-03-14T09:00:00+00:00", "a; b"],
        ["Çelik; W-1", "active", "2026-03-14T09:00:00+00:00", "a; b"],
    ]


async def test_another_table_of_the_page_has_its_own_file(http: httpx.AsyncClient) -> None:
    assert rows(await http.get("/people?cursor=3&table=1")) == [["other"]]


async def test_a_table_that_is_not_there_says_so(http: httpx.AsyncClient) -> None:
    answer = await http.get("/people?table=3")
    assert (answer.status_code, answer.text) == (404, "This page has no such table; open it again.")


async def test_whoever_is_not_signed_in_is_sent_to_sign_in(http: httpx.AsyncClient) -> None:
    answer = await http.get("/work?table=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


async def test_a_page_without_the_parameter_is_the_page(http: httpx.AsyncClient) -> None:
    assert (await http.get("/people")).headers["content-type"].startswith("text/html")
