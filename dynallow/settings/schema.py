"""The settings as JSON schema, for editors. Knows nothing that the model does not say."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from dynallow.settings.model import Settings
from dynallow.settings.table import default_of, sections


class _Generator(GenerateJsonSchema):
    # Defaults are values, not texts; `json_schema` puts in what a person would write.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012


def json_schema() -> dict[str, Any]:
    """The schema of a settings file, with every default as TOML would hold it."""
    schema = Settings.model_json_schema(by_alias=True, schema_generator=_Generator)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "dynallow settings"
    for _, model in sections():
        target = schema if model is Settings else schema["$defs"][model.__name__]
        for name, field in model.model_fields.items():
            described = target["properties"][field.alias or name]
            described.pop("default", None)
            if field.description:
                described["description"] = field.description
            default = default_of(model, name)
            if default is not None:
                described["default"] = default
    return schema
