"""What lies in config/ is valid, complete and says the truth about defaults."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from dynallow.settings import load
from dynallow.settings.model import Settings
from dynallow.settings.table import default_of, sections

CONFIG = Path(__file__).parents[3] / "config"


@pytest.mark.parametrize(
    "file", sorted(CONFIG.rglob("*.toml")), ids=lambda file: str(file.relative_to(CONFIG))
)
def test_config_file_loads(file: Path) -> None:
    loaded = load(file)
    assert file.read_text().startswith("#:schema ")
    assert all(rule.reason and rule.owner for rule in loaded.settings.rules)


@pytest.mark.parametrize("file", sorted(CONFIG.glob("lists/*.txt")), ids=lambda file: file.name)
def test_config_list_is_valid_and_used_nowhere_twice(file: Path, tmp_path: Path) -> None:
    main = tmp_path / "dynallow.toml"
    main.write_text(f'[[rule]]\nname = "r"\nnames-from = ["{file}"]\n')
    patterns = [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
    patterns = [pattern for pattern in patterns if pattern]
    assert load(main).policy.count == len(patterns) > 0
    assert len(set(patterns)) == len(patterns)


def test_config_default_gives_the_defaults() -> None:
    assert load(CONFIG / "dynallow.toml").settings == Settings()


def uncommented() -> str:
    """The default with its sample tables switched on."""
    lines = (CONFIG / "dynallow.toml").read_text().splitlines()
    return "\n".join(re.sub(r"^# (?=\[\[|[a-z-]+ += )", "", line) for line in lines)


def test_config_default_shows_every_key_with_its_default(tmp_path: Path) -> None:
    document = tomllib.loads(uncommented())
    tables = {
        "": document,
        **{f"{key}.": document[key] for key in ("resolver", "lease", "firewall", "control", "history")},
        "[[resolver.zone]].": document["resolver"]["zone"][0],
        "[[rule]].": document["rule"][0],
        "[[destination]].": document["destination"][0],
    }
    samples = {"[[resolver.zone]].names", "[[resolver.zone]].upstreams", "[[rule]].names", "[[rule]].expires"}
    for prefix, model in sections():
        for name, field in model.model_fields.items():
            key = field.alias or name
            assert key in tables[prefix], f"{prefix}{key}"
            default = default_of(model, name)
            if (
                field.description
                and default is not None
                and f"{prefix}{key}" not in samples
                and key != "zone"
            ):
                shown = model.model_validate({**minimal(prefix), key: tables[prefix][key]})
                assert getattr(shown, name) == field.get_default(call_default_factory=True), f"{prefix}{key}"
    file = tmp_path / "dynallow.toml"
    file.write_text(uncommented())
    load(file)


def minimal(prefix: str) -> dict[str, object]:
    if prefix == "[[rule]].":
        return {"name": "x"}
    if prefix == "[[destination]].":
        return {"name": "x", "addresses": [], "ports": []}
    return {}
