"""The exports of HR systems, one file each: which heading means what, with its public source."""

from functools import cache
from pathlib import Path

import yaml

from services.gateway.rules.roster_columns import Preset

FOLDER = Path(__file__).parent


@cache
def presets() -> dict[str, Preset]:
    """Every preset by its name in addresses and commands; `plain` is an organization's own list."""
    return {
        path.stem: Preset.model_validate(yaml.safe_load(path.read_text()))
        for path in sorted(FOLDER.glob("*.yaml"))
    }
