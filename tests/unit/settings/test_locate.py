"""Where a pattern stands: in the TOML of its own rule, or in a list."""

from __future__ import annotations

from pathlib import Path

from dynallow.settings import Loaded, load, locate

MAIN = """\
[[rule]]
name = "one"
names = ["a.example"]   # "b.example"

[[rule]]
name = "two"
names = [
    "a.example",
    ".B.example.",
    "c.example", "*.c.example",
]
names-from = ["list.txt"]
"""


def loaded_from(root: Path) -> Loaded:
    (root / "dynallow.toml").write_text(MAIN)
    (root / "list.txt").write_text("# comment\nplain.example\n  Bücher.example  # indented\n")
    return load(root / "dynallow.toml")


def test_locate_pattern_is_found_in_its_own_rule(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path)
    one, two = loaded.policy.rules
    places = {
        "a.example": 8,
        ".b.example": 9,
        ".c.example": 10,
        "*.c.example": 10,
    }
    assert locate(loaded, one, "a.example") == f"{tmp_path}/dynallow.toml:3"
    assert locate(loaded, one, "b.example") is None
    assert {text: locate(loaded, two, text) for text in places} == {
        text: f"{tmp_path}/dynallow.toml:{line}" for text, line in places.items()
    }


def test_locate_pattern_is_found_in_a_list(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path)
    two = loaded.policy.rules[1]
    assert locate(loaded, two, "plain.example") == f"{tmp_path}/list.txt:2"
    assert locate(loaded, two, "xn--bcher-kva.example") == f"{tmp_path}/list.txt:3"


def test_locate_file_gone_since_loading_is_no_error(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path)
    (tmp_path / "list.txt").unlink()
    (tmp_path / "dynallow.toml").unlink()
    assert locate(loaded, loaded.policy.rules[1], "plain.example") is None
