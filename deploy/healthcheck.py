"""Asks one address whether it is ready: `python -m deploy.healthcheck http://127.0.0.1:8080/readyz`."""

import sys
import urllib.error
import urllib.request

ANSWER_SECONDS = 5


def is_ready(url: str) -> bool:
    """Whether `url` answers 200."""
    # Proxies named in the environment are for other machines.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


if __name__ == "__main__":
    sys.exit(not is_ready(sys.argv[1]))
