"""What objects of a directory are made of: their base, their ids, and the functions of portals."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]


class DirectoryObject(BaseModel):
    """One object of the directory; unknown fields are refused, because they are typing errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Function(StrEnum):
    """What a portal lets one do. `sign_on` is the function of a sign-on service itself."""

    ELIGIBILITY = "eligibility"
    BENEFITS = "benefits"
    COORDINATION_OF_BENEFITS = "coordination_of_benefits"
    CLAIM_STATUS = "claim_status"
    PRIOR_AUTHORIZATION = "prior_authorization"
    PRIOR_AUTHORIZATION_UPLOAD = "prior_authorization_upload"
    REMITTANCE = "remittance"
    PAYMENT = "payment"
    FEE_SCHEDULE = "fee_schedule"
    USER_ADMINISTRATION = "user_administration"
    SIGN_ON = "sign_on"


FINANCIAL = frozenset({Function.REMITTANCE, Function.PAYMENT, Function.FEE_SCHEDULE})
"""What front office must not see: 45 CFR 164.514(d)(2), minimum necessary by role."""
