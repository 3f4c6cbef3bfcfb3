"""Rejected bodies are kept sealed: AES-256-GCM under the gateway's own key."""

import base64
import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12


class CannotOpen(Exception):
    """What is sealed was altered, belongs elsewhere, or was sealed under another key."""


class BodySeal:
    """Seals and opens bodies. The reference is bound in, so that bodies cannot be swapped."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, reference: str, body: bytes) -> tuple[bytes, bytes]:
        """A fresh nonce and the sealed body."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce, self._cipher.encrypt(nonce, body, reference.encode())

    def open(self, reference: str, nonce: bytes, sealed: bytes) -> bytes:
        """The body.

        Raises:
            CannotOpen: it was altered, belongs to another reference, or has another key.
        """
        try:
            return self._cipher.decrypt(nonce, sealed, reference.encode())
        except InvalidTag as error:
            raise CannotOpen(f"{reference} cannot be opened with the body key") from error


def load_body_seal(path: Path) -> BodySeal:
    """Read the key file: 32 bytes in base64.

    Raises:
        ValueError: the file is missing or holds something else.
    """
    try:
        key = base64.b64decode(path.read_text().strip(), validate=True)
    except OSError as error:
        raise ValueError(f"The body key file {path} cannot be read: {error.strerror}.") from None
    except (binascii.Error, UnicodeDecodeError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"The body key file {path} must hold {KEY_BYTES} bytes in base64.")
    return BodySeal(key)
