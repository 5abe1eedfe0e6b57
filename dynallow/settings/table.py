"""The settings as a Markdown table: key, default, meaning. Knows nothing that the model does not say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dynallow.settings.faults import field_model
from dynallow.settings.model import Settings

# Stand-ins for what a table must name, so that its defaults can be printed.
_REQUIRED = {"name": "x", "addresses": [], "ports": []}


def settings_table() -> str:
    """Every key in the order of the model, one line each."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for prefix, model in sections():
        for name, field in model.model_fields.items():
            if _is_table(field.annotation):
                continue
            default = default_of(model, name)
            text = "" if default is None else f"`{json.dumps(default)}`"
            lines.append(f"| `{prefix}{field.alias}` | {text} | {field.description} |")
    return "\n".join(lines) + "\n"


def sections(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Each table's model with what stands before its keys; `[[rule]].` for an array of tables."""
    yield prefix, model
    for field in model.model_fields.values():
        if _is_table(field.annotation):
            key = f"{prefix}{field.alias}"
            inner = f"[[{key}]]." if get_origin(field.annotation) is tuple else f"{key}."
            yield from sections(field_model(field.annotation), inner)


def default_of(model: type[BaseModel], name: str) -> Any:
    """The default as TOML would hold it; None for a key that has none."""
    field = model.model_fields[name]
    if (
        field.is_required()
        or field.default is PydanticUndefined
        or (field.default is None and name == "expires")
    ):
        return None
    required = {key: value for key, value in _REQUIRED.items() if _requires(model, key)}
    dumped = model.model_validate(required).model_dump(mode="json", include={name}, by_alias=True)
    return dumped[field.alias or name]


def _requires(model: type[BaseModel], name: str) -> bool:
    return name in model.model_fields and model.model_fields[name].is_required()


def _is_table(annotation: Any) -> bool:
    inner = field_model(annotation)
    return isinstance(inner, type) and issubclass(inner, BaseModel)
