"""Forgets all data of the embedded runs; downloads stay: `python -m deploy.clean`."""

import sys

from deploy.errors import CannotStart
from deploy.installation import VAR, Installation
from deploy.run import forget


def main() -> int:
    """Forget, unless a run is live; the exit status is 0, or 1 after a sentence."""
    try:
        for installation in (Installation(), Installation(folder=VAR / "demo")):
            with installation.locked():
                forget(installation)
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1
    print("All data of the embedded servers are gone. Downloads are kept.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
