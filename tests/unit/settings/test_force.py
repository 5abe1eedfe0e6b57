"""Which keys are not in force yet, and which need a restart."""

from __future__ import annotations

from dynallow.settings import needs_restart, not_in_force
from dynallow.settings.model import Settings


def test_not_in_force_defaults_are_all_in_force() -> None:
    assert not_in_force(Settings()) == ()


def test_not_in_force_one_line_for_each_name_that_no_rule_can_list() -> None:
    rules = [{"name": "web", "names": ["deb.example.org", "localhost", "*.onion", "localhost.example.org"]}]
    assert not_in_force(Settings.model_validate({"rule": rules})) == (
        "rule web: localhost has no effect, localhost is this host (RFC 6761)",
        "rule web: *.onion has no effect, names that end in onion are not in the DNS (RFC 7686)",
    )


def test_not_in_force_upstreams_of_each_kind_and_suffixes_are_in_force() -> None:
    resolver = {
        "upstreams": ["192.0.2.1", "tls://192.0.2.1", "https://x.example/q#192.0.2.1", "tcp://192.0.2.1"],
        "zone": [{"names": [".a.example"], "upstreams": ["tls://192.0.2.1#x.example"]}],
        "search-suffixes": ["example.org"],
    }
    assert not_in_force(Settings.model_validate({"resolver": resolver})) == ()


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
