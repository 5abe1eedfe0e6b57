"""Certificates for the tests of encrypted upstreams."""

from __future__ import annotations

import pytest

from tests.lab.certificates import Certificates
from tests.lab.needs import require
from tests.lab.web import Authority


@pytest.fixture(scope="session")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    require("openssl")
    return Certificates(Authority(tmp_path_factory.mktemp("authority") / "ca"))


@pytest.fixture
def certificates(issued: Certificates, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    """The same, with the authority trusted as an administrator would have it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(issued.trusted))
    return issued
