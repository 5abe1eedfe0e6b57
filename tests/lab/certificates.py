"""Certificates with something wrong about them, and one for an address, from the lab's own authority.

Knows openssl. What is wrong with each is its name.
"""

from __future__ import annotations

import ssl
import warnings
from pathlib import Path
from typing import NamedTuple

from tests.lab.web import Authority, openssl

SERVER_NAME = "dns.example.org"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Certificate(NamedTuple):
    """A certificate and its key, as files."""

    chain: Path
    key: Path

    def context(self, *, alpn: str = "", old: bool = False) -> ssl.SSLContext:
        """What a server with it uses; `old`: it knows nothing after TLS 1.1."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        if alpn:
            context.set_alpn_protocols([alpn])
        if old:
            context.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                context.maximum_version = ssl.TLSVersion.TLSv1_1
                context.minimum_version = ssl.TLSVersion.TLSv1
        return context


class Certificates:
    """The good one and the others, made when they are asked for."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._directory = authority.certificate.parent
        self.trusted = authority.certificate
        self.good = Certificate(authority.server_certificate, authority.server_key)

    def expired(self) -> Certificate:
        return self._issue("expired", f"DNS:{SERVER_NAME}", days=-1)

    def wrong_name(self) -> Certificate:
        return self._issue("wrong-name", "DNS:other.example.org")

    def for_address(self, address: str) -> Certificate:
        return self._issue("address", f"IP:{address}")

    def common_name_alone(self) -> Certificate:
        """It names the server where names stood before there was a field for them."""
        return self._issue("common-name", "", subject=f"/CN={SERVER_NAME}")

    def self_signed(self) -> Certificate:
        made = self._place("self-signed")
        names = ("-subj", f"/CN={SERVER_NAME}", "-addext", f"subjectAltName=DNS:{SERVER_NAME}")
        openssl("req", "-x509", *_NEW_KEY, *names, "-keyout", str(made.key), "-out", str(made.chain))
        return made

    def _issue(self, name: str, alternative: str, days: int = 30, subject: str = "/CN=lab") -> Certificate:
        made = self._place(name)
        request, extensions = made.chain.with_suffix(".csr"), made.chain.with_suffix(".ext")
        names = f"subjectAltName={alternative}\n" if alternative else ""
        extensions.write_text(f"{names}basicConstraints=critical,CA:FALSE\n")
        openssl("req", "-new", *_NEW_KEY, "-subj", subject, "-keyout", str(made.key), "-out", str(request))
        signer = ["-CA", str(self.trusted), "-CAkey", str(self._directory / "ca.key"), "-CAcreateserial"]
        result = ["-days", str(days), "-extfile", str(extensions), "-out", str(made.chain)]
        openssl("x509", "-req", "-in", str(request), *signer, *result)
        return made

    def _place(self, name: str) -> Certificate:
        return Certificate(self._directory / f"{name}.pem", self._directory / f"{name}.key")
