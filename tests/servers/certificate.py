"""A self-signed certificate for 127.0.0.1, created with openssl for each run that needs it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.jars import ServerNotToBeHad


@dataclass(frozen=True, slots=True)
class Certificate:
    """The PEM files, and a PKCS #12 file with both, which `password` opens."""

    private_key: Path
    public: Path
    store: Path
    password: str


def make_certificate(folder: Path, password: str) -> Certificate:
    """Create a certificate that is valid for two days. Raises ServerNotToBeHad without openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise ServerNotToBeHad("expected openssl on PATH, for a certificate; Debian: apt-get install openssl")
    folder.mkdir(parents=True, exist_ok=True)
    key, public, store = folder / "private.key", folder / "public.crt", folder / "store.p12"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*make, "-keyout", str(key), "-out", str(public)], check=True, capture_output=True)
    pack = [openssl, "pkcs12", "-export", "-inkey", str(key), "-in", str(public), "-out", str(store)]
    subprocess.run([*pack, "-passout", "stdin"], input=password.encode(), check=True, capture_output=True)
    return Certificate(key, public, store, password)
