"""Pydantic's findings as faults that a person can act on.

Knows pydantic's error types and the model's keys. Must not know files beyond their names.
Keeps: every text reads "expected …, got …".
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dynallow.errors import Fault
from dynallow.settings.shown import shown

Path = Sequence[str | int]

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "an array",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
}


def path_text(path: Path) -> str:
    """("rule", 2, "ports", 0) → "rule[2].ports[0]"."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def faults_of(error: ValidationError, model: type[BaseModel], file: str, at: Path = ()) -> list[Fault]:
    """What `error` found wrong with a `model` that stands at `at` in `file`."""
    return [
        Fault(file, path_text((*at, *details["loc"])), _text(details, model))
        for details in error.errors(include_url=False)
    ]


def _text(details: ErrorDetails, model: type[BaseModel]) -> str:
    kind, context, got = details["type"], details.get("ctx", {}), details["input"]
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return _unknown_key(details["loc"], model)
    if kind == "missing":
        return "expected a value, got nothing"
    if kind == "literal_error":
        return f"expected {context['expected'].replace(chr(39), chr(34))}, got {shown(got)}"
    if kind == "greater_than_equal":
        return f"expected a number of at least {context['ge']}, got {shown(got)}"
    if kind == "less_than_equal":
        return f"expected a number of at most {context['le']}, got {shown(got)}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {shown(got)}"
    return f"expected another value ({details['msg']}), got {shown(got)}"


def _unknown_key(path: Path, model: type[BaseModel]) -> str:
    known = known_keys(model, path[:-1])
    key = str(path[-1])
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if near:
        return f'expected a known key, got "{key}"; did you mean "{near[0]}"?'
    return f'expected one of {", ".join(known)}, got "{key}"'


def known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """The keys of the table at `path` below `model`."""
    for step in path:
        if isinstance(step, int):
            continue
        model = next(field_model(f.annotation) for f in model.model_fields.values() if f.alias == step)
    return [field.alias or name for name, field in model.model_fields.items()]


def field_model(annotation: Any) -> type[BaseModel]:
    """The table's model of a field: itself, or that of an array's elements."""
    inner: type[BaseModel] = get_args(annotation)[0] if get_args(annotation) else annotation
    return inner
