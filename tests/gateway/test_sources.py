"""Who may speak for whom, as configured."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from services.gateway.sources import Source, Sources, load_sources
from tests.gateway.conftest import NEW_SECRET, OLD_SECRET, OTHER_SECRET, STRUCTURED, signed

# The example of the Standard Webhooks libraries' own tests.
VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
VECTOR_TIME = datetime.fromtimestamp(1614265330, UTC).replace(tzinfo=None)
VECTOR_BODY = '{"test": 2432232314}'
VECTOR_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def source(organization: str, *secrets: str) -> Source:
    return Source(organizations=frozenset({organization}), secrets=secrets)


def test_signatures_are_those_of_standard_webhooks() -> None:
    signature = Webhook(VECTOR_SECRET).sign(VECTOR_ID, VECTOR_TIME, VECTOR_BODY)
    assert signature == VECTOR_SIGNATURE


def test_an_old_signature_is_refused_however_right_it_is() -> None:
    sources = Sources({"a": source("a", VECTOR_SECRET)})
    headers = {
        "webhook-id": VECTOR_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": VECTOR_SIGNATURE,
    }
    assert sources.signed_by(VECTOR_BODY.encode(), headers) == {}


def test_a_signature_speaks_for_every_source_with_its_secret_and_no_other() -> None:
    sources = Sources(
        {
            "a": source("one", NEW_SECRET, OLD_SECRET),
            "b": source("two", OLD_SECRET),
            "c": source("three", OTHER_SECRET),
        }
    )
    body = b"{}"
    assert sources.signed_by(body, signed(body, STRUCTURED, secret=OLD_SECRET)) == {
        "a": frozenset({"one"}),
        "b": frozenset({"two"}),
    }


def test_one_of_several_signatures_is_enough() -> None:
    body = b"{}"
    headers = signed(body, STRUCTURED, secret=OLD_SECRET)
    headers["webhook-signature"] = f"v1,AAAA {headers['webhook-signature']}"
    assert Sources({"a": source("one", OLD_SECRET)}).signed_by(body, headers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sources: [", "is not YAML"),
        ("nothing: {}", "is wrong"),
        ("sources: {a: {organizations: [], secrets: [x]}}", "is wrong"),
        ("sources: {a: {organizations: [UPPER], secrets: [x]}}", "is wrong"),
        ("sources: {a: {organizations: [a], secrets: [whsec_c2hvcnQ=]}}", "too short"),
        ("sources: {a: {organizations: [a], secrets: ['%%%']}}", "too short"),
    ],
)
def test_a_wrong_sources_file_is_refused_without_showing_secrets(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "sources.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as refusal:
        load_sources(file)
    assert "c2hvcnQ" not in str(refusal.value)
