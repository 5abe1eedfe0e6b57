"""The schema and the table say what the model says."""

from __future__ import annotations

import json

from dynallow.settings import json_schema, settings_table
from dynallow.settings.model import Settings
from dynallow.settings.table import sections


def test_json_schema_has_every_key_with_meaning_and_default() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["properties"]["mode"]["default"] == "observe"
    resolver = schema["$defs"]["ResolverSettings"]["properties"]
    assert resolver["listen"]["default"] == ["127.0.0.1:53", "[::1]:53"]
    assert resolver["timeout"]["default"] == "2s"
    rule = schema["$defs"]["RuleSettings"]
    assert rule["required"] == ["name"]
    assert rule["properties"]["types"]["default"] == ["A", "AAAA", "CNAME", "HTTPS", "SVCB", "SRV"]
    assert "default" not in rule["properties"]["expires"]
    assert rule["additionalProperties"] is False


def test_json_schema_defaults_are_accepted_as_settings() -> None:
    defaults = {}
    for name in ("Resolver", "Lease", "Firewall", "Control", "History"):
        properties = json_schema()["$defs"][f"{name}Settings"]["properties"]
        defaults[name.lower()] = {
            key: value["default"] for key, value in properties.items() if "default" in value
        }
    defaults["resolver"].pop("zone", None)
    assert Settings.model_validate(defaults) == Settings()


def test_every_key_has_one_line_of_meaning() -> None:
    for _, model in sections():
        for name, field in model.model_fields.items():
            if field.description is None:
                tables = ("resolver", "lease", "firewall", "control", "history", "rules", "destinations")
                assert name in tables
            else:
                assert "\n" not in field.description
                assert "|" not in field.description


def test_settings_table_lists_every_key() -> None:
    table = settings_table()
    assert '| `resolver.timeout` | `"2s"` | one try; in all at most 3 tries over the upstreams |' in table
    assert "| `[[rule]].except` | `[]` |" in table
    assert "| `[[resolver.zone]].names` |" in table
    assert "`[[rule]].expires` |  |" in table
    assert all(line.count("|") == 4 for line in table.splitlines())
