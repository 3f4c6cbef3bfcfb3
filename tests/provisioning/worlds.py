"""A small organization for tests: two sites, four portals, three carriers, every rule once."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from services.provisioning.rules.desired.directory import CompiledDirectory
from shared.contracts.directory import Directory

ORGANIZATION = "maple-clinic"
SOURCE = "/hr/maple-clinic"
ZONE = ZoneInfo("America/Los_Angeles")
TIN, OTHER_TIN = "12-3456789", "98-7654321"
NOW = datetime(2026, 6, 15, 18, 0, tzinfo=UTC)


def directory(**changes: Any) -> Directory:
    """The organization's directory, with top-level parts replaced."""
    document: dict[str, Any] = {
        "organization": {
            "id": ORGANIZATION,
            "name": "Maple Clinic",
            "zone": "America/Los_Angeles",
            "tins": [TIN, OTHER_TIN],
        },
        "policy": {"version": "v1", "signatory": "Dr. Ada Fox", "signed_on": "2026-01-02"},
        "sources": [{"id": SOURCE, "name": "HR"}],
        "sites": [
            {"id": "north", "name": "North", "state": "WA", "tins": [TIN]},
            {"id": "south", "name": "South", "state": "OR", "tins": [TIN, OTHER_TIN]},
        ],
        "carriers": [
            {"id": "acme", "name": "Acme Health", "kind": "commercial"},
            {"id": "medicare", "name": "Medicare", "kind": "medicare"},
            {"id": "lapsed", "name": "Lapsed Health", "kind": "commercial"},
        ],
        "contracts": [
            {"id": "acme-1", "carrier": "acme", "tins": [TIN], "since": "2020-01-01"},
            {"id": "acme-2", "carrier": "acme", "tins": [OTHER_TIN], "since": "2020-01-01"},
            {"id": "medicare-1", "carrier": "medicare", "tins": [TIN], "since": "2020-01-01"},
            {
                "id": "lapsed-1",
                "carrier": "lapsed",
                "tins": [TIN],
                "since": "2020-01-01",
                "until": "2025-12-31",
                "grace_days": 30,
            },
        ],
        "portals": [
            {
                "id": "hub",
                "name": "Hub",
                "kind": "hub",
                "url": "https://hub.example",
                "starts": "new",
                "requires_sign_on": "gate",
                "removal_rank": 20,
                "reaches": [
                    {
                        "carrier": "acme",
                        "functions": ["eligibility", "benefits", "claim_status", "remittance"],
                    }
                ],
            },
            {
                "id": "gate",
                "name": "Gate",
                "kind": "sign_on",
                "url": "https://gate.example",
                "starts": "new",
                "removal_rank": 10,
            },
            {
                "id": "mac",
                "name": "Medicare portal",
                "kind": "mac",
                "url": "https://mac.example",
                "starts": "new",
                "states": ["WA"],
                "support": "800-555-0100",
                "reaches": [{"carrier": "medicare", "functions": ["eligibility", "claim_status"]}],
            },
            {
                "id": "old",
                "name": "Old portal",
                "kind": "standalone",
                "url": "https://old.example",
                "starts": "new",
                "revoke_instead_of_suspend": True,
                "reaches": [
                    {"carrier": "lapsed", "functions": ["eligibility"]},
                    {"carrier": "acme", "functions": ["fee_schedule"]},
                ],
            },
        ],
        "enrolments": [
            {"id": f"{portal}-{tin}", "portal": portal, "tin": tin, "registered_on": "2020-01-01"}
            for portal in ("hub", "gate", "mac", "old")
            for tin in (TIN, OTHER_TIN)
        ],
        "administrators": [],
        "training_modules": [
            {
                "id": "remittance-basics",
                "name": "Remittance basics",
                "owner": "Billing",
                "functions": ["remittance"],
            }
        ],
        "titles": [
            {"id": "Front Desk", "duties": ["front-desk"]},
            {"id": "Biller", "duties": ["billing"]},
            {"id": "Nurse", "duties": []},
        ],
        "job_duties": [
            {"id": "front-desk", "name": "Front desk", "functions": ["eligibility", "benefits"]},
            {
                "id": "billing",
                "name": "Billing",
                "functions": ["claim_status", "remittance", "fee_schedule"],
            },
        ],
    }
    return Directory.model_validate({**document, **changes})


def compiled(version: int = 1, **changes: Any) -> CompiledDirectory:
    """The directory arranged for deciding."""
    return CompiledDirectory(directory(**changes), version)


def day(offset: int) -> str:
    """A calendar day relative to `NOW` in the organization's zone."""
    return (NOW.astimezone(ZONE).date() + timedelta(days=offset)).isoformat()


def as_date(offset: int) -> date:
    """The same as a date."""
    return date.fromisoformat(day(offset))


def ago(**parts: float) -> datetime:
    """An instant before `NOW`."""
    return NOW - timedelta(**parts)
