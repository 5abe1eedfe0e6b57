"""Settings files → `Loaded`, or one report of all that is wrong with them.

Knows the files' places and the order of the steps. Must not know single keys.
Keeps: each file is judged by itself, so a fault names the file and the place in it, and a broken
file hides no fault of another; a `Loaded` exists only when there is no fault at all.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from dynallow.errors import Fault, SettingsError
from dynallow.policy.policy import Policy
from dynallow.settings.compile import ListLine, RuleSource, compile_policy
from dynallow.settings.crossing import findings
from dynallow.settings.faults import faults_of, path_text
from dynallow.settings.judge import judge
from dynallow.settings.merge import Document, Merged, merge
from dynallow.settings.model import (
    Destination,
    LeaseSettings,
    ResolverSettings,
    RuleSettings,
    Section,
    Settings,
)
from dynallow.settings.shown import shown

DEFAULT_PATH = Path("/etc/dynallow/dynallow.toml")

_NO_DRAFTS: Mapping[Path, str] = MappingProxyType({})
_TOML_PLACE = re.compile(r" \(at line (\d+), column \d+\)$")
_MERGED_SECTIONS: dict[str, type[Section]] = {"resolver": ResolverSettings, "lease": LeaseSettings}
_ARRAYS: dict[str, type[Section]] = {"rule": RuleSettings, "destination": Destination}


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid settings, the policy made of them, and where both came from."""

    settings: Settings
    policy: Policy
    files: tuple[Path, ...]
    sources: tuple[RuleSource, ...] = ()
    texts: tuple[str, ...] = field(default=(), repr=False)
    """Of `files`, as they were read."""


def load(path: Path | None = None, drafts: Mapping[Path, str] = _NO_DRAFTS) -> Loaded:
    """Read `path` (default /etc/dynallow/dynallow.toml) and the `conf.d/*.toml` beside it.

    `drafts`: texts to take instead of what these files hold, or as if they were there.
    Raises SettingsError with every fault of every file.
    """
    main = path or DEFAULT_PATH
    if not main.exists():
        error = SettingsError([Fault(str(main), "", "expected a settings file, got none")])
        error.hint = "name one with --config FILE, or write this one (an empty file is valid)"
        raise error
    files = (main, *sorted({*files_of(main)[1:], *drafts} - {main}))
    faults: list[Fault] = []
    texts = [(file, text) for file in files if (text := _read(file, faults, drafts.get(file))) is not None]
    return build(texts, faults)


def build(
    texts: list[tuple[Path, str]], faults: list[Fault], lists: Iterable[ListLine] | None = None
) -> Loaded:
    """What the files' texts say, the main one's first; `faults` is what was wrong with reading them.

    The rules' lists are read from their files, or are those in `lists`. Raises SettingsError.
    """
    main = texts[0][0] if texts else DEFAULT_PATH
    documents = [
        (file, document) for file, text in texts if (document := _parse(file, text, faults)) is not None
    ]
    sources: list[RuleSource] = []
    for file, document in documents:
        faults += _faults_in(str(file), document)
        sources += _rule_sources(file, document)
    merged = merge((str(file), document) for file, document in documents)
    faults += _crossing_faults(merged, str(main))
    faults += _duplicates(merged, str(main))
    resolver = _valid(ResolverSettings, merged.data.get("resolver", {}))
    suffixes = resolver.search_suffixes if isinstance(resolver, ResolverSettings) else ()
    policy, name_faults = compile_policy(sources, suffixes, lists)
    faults += name_faults
    if faults:
        raise SettingsError(faults)
    files, read = zip(*texts, strict=True)
    return Loaded(Settings.model_validate(merged.data), policy, files, tuple(sources), read)


def files_of(path: Path | None = None) -> tuple[Path, ...]:
    """The files that settings are read from, in order, whether or not they can be."""
    main = path or DEFAULT_PATH
    return (main, *sorted((main.parent / "conf.d").glob("*.toml")))


def where_mode_is_set(loaded: Loaded) -> Path:
    """The file whose `mode` holds: the last that has one; the main file where none has."""
    says = [
        file
        for file, text in zip(loaded.files, loaded.texts, strict=True)
        if "mode" in text and "mode" in tomllib.loads(text)
    ]
    return says[-1] if says else loaded.files[0]


def _read(file: Path, faults: list[Fault], draft: str | None) -> str | None:
    try:
        return file.read_bytes().decode() if draft is None else draft
    except OSError as error:
        faults.append(Fault(str(file), "", f"expected a readable file, got: {error.strerror}"))
    except UnicodeDecodeError as error:
        faults.append(Fault(str(file), "", f"expected UTF-8 text, got byte {error.start} that is none"))
    return None


def _parse(file: Path, text: str, faults: list[Fault]) -> Document | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        told = str(error)
        place = _TOML_PLACE.search(told)
        faults.append(
            Fault(str(file), place[1] if place else "", f"expected TOML, got: {_TOML_PLACE.sub('', told)}")
        )
    return None


def _faults_in(file: str, document: Document) -> list[Fault]:
    try:
        Settings.model_validate(document)
    except ValidationError as error:
        return faults_of(error, Settings, file)
    return []


def _rule_sources(file: Path, document: Document) -> Iterator[RuleSource]:
    """The file's rules, faulty ones as far as they can be judged; `_faults_in` tells of what is amiss."""
    rules = document.get("rule")
    for index, table in enumerate(rules if isinstance(rules, list) else ()):
        rule, _ = judge(RuleSettings, table)
        if isinstance(rule, RuleSettings):
            yield RuleSource(file, index, rule)


def _valid(model: type[Section], table: object) -> Section | None:
    try:
        return model.model_validate(table)
    except ValidationError:
        return None


def _crossing_faults(merged: Merged, main: str) -> Iterator[Fault]:
    """Judged on what all files say together: one may set lease.min and another lease.max."""
    for key, model in _MERGED_SECTIONS.items():
        section = _valid(model, merged.data.get(key, {}))
        for path, text in findings(section) if section else ():
            file, place = merged.origin((key, *path), main)
            yield Fault(file, path_text(place), text)
    for key, model in _ARRAYS.items():
        tables = merged.data.get(key)
        for index, table in enumerate(tables if isinstance(tables, list) else ()):
            section, faulty = judge(model, table)
            for path, text in findings(section) if section else ():
                if path[0] in faulty:
                    continue
                file, place = merged.origin((key, index, *path), main)
                yield Fault(file, path_text(place), text)


def _duplicates(merged: Merged, main: str) -> Iterator[Fault]:
    for key in _ARRAYS:
        first: dict[str, str] = {}
        tables = merged.data.get(key)
        for index, table in enumerate(tables if isinstance(tables, list) else ()):
            name = table.get("name") if isinstance(table, dict) else None
            if not isinstance(name, str):
                continue
            file, place = merged.origin((key, index), main)
            here = f"{file}:{path_text(place)}"
            if name in first:
                text = f"expected a {key} name used once, got {shown(name)} as in {first[name]}"
                yield Fault(file, path_text((*place, "name")), text)
            first.setdefault(name, here)
