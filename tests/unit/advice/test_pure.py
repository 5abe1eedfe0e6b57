"""Advice is a value made of values: its modules ask no clock, open no file and start nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.unit.test_layout import IMPURE_MODULES, PACKAGE

MODULES = sorted((PACKAGE / "advice").glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_module_of_advice_imports_nothing_that_acts(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        )
    }
    assert imported & (IMPURE_MODULES - {"datetime"}) == set()
    # Moments are turned into dates; the time of now is an argument.
    assert not {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & {
        "now",
        "today",
        "utcnow",
    }
