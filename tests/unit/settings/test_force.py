"""Which keys are not in force yet, and which need a restart."""

from __future__ import annotations

from dynallow.settings import needs_restart, not_in_force
from dynallow.settings.model import Settings


def test_not_in_force_defaults_are_all_in_force() -> None:
    assert not_in_force(Settings()) == ()


def test_not_in_force_one_line_for_each_key_that_comes_later() -> None:
    resolver = {
        "upstreams": ["192.0.2.1", "tls://192.0.2.1", "https://x.example/q#192.0.2.1", "tcp://192.0.2.1"],
        "zone": [{"names": [".a.example"], "upstreams": ["tls://192.0.2.1#x.example"]}],
        "search-suffixes": ["example.org"],
    }
    lines = not_in_force(Settings.model_validate({"resolver": resolver}))
    assert [line.split(": ")[0] for line in lines] == ["resolver.search-suffixes"]


def test_needs_restart_names_sockets_only() -> None:
    old = Settings()
    new = Settings.model_validate(
        {
            "mode": "enforce",
            "resolver": {"listen": ["127.0.0.2:53"], "timeout": "1s"},
            "control": {"socket": "/tmp/x", "metrics": "127.0.0.1:1"},
        }
    )
    assert needs_restart(old, old) == ()
    assert needs_restart(old, new) == ("resolver.listen", "control.socket", "control.metrics")
