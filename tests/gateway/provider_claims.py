"""What the tests' identity provider says of people, beyond the standard's claims."""

from typing import Any

from oauth2_provider.oauth2_validators import OAuth2Validator

from tests.gateway.identity_provider import PEOPLE


class Claims(OAuth2Validator):  # type: ignore[misc]
    oidc_claim_scope = None

    def get_additional_claims(self, request: Any) -> dict[str, Any]:
        return dict(PEOPLE[request.user.username])
