"""Stands in for any process of Portalkeeper: listens where it is told and is always ready."""

import os
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


class AlwaysReady(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    print("standing in", flush=True)
    if port := os.environ.get("PORTALKEEPER_PORT"):
        HTTPServer((os.environ["PORTALKEEPER_HOST"], int(port)), AlwaysReady).serve_forever()
    time.sleep(3600)


if __name__ == "__main__":
    main()
