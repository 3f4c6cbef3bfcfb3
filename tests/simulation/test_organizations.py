"""Whole organizations, a few of them: `make soak` tries more."""

from collections.abc import Mapping

import pytest

from tests.simulation.organizations import try_organizations

EXAMPLES = 20

pytestmark = pytest.mark.slow


def test_whatever_happens_to_an_organization_what_is_promised_holds_and_it_converges(
    database: Mapping[str, str],
) -> None:
    try_organizations(database["provisioning"], EXAMPLES, again=True)
