"""Whatever page the console has, a benchmark asks for it, or says that none does."""

from tests.benchmarks.console_pages import NOT_MEASURED, PAGES
from tests.benchmarks.console_records import OF_AUDITORS, OF_COMPLIANCE, OF_REVIEWERS
from tests.e2e.crawling import route_of, routes


def test_every_page_of_the_console_is_measured_or_said_not_to_be() -> None:
    known = routes()
    pages = (*PAGES, *OF_REVIEWERS, *OF_COMPLIANCE, *OF_AUDITORS)
    measured = {route_of(known, page.replace("{middle}", "7")) for page in pages}
    assert measured | NOT_MEASURED == set(known)
    assert not measured & NOT_MEASURED
