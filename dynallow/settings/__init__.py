"""TOML files → a frozen, validated model and the policy; every fault in one report."""

from dynallow.settings.force import needs_restart, not_in_force
from dynallow.settings.load import DEFAULT_PATH, Loaded, files_of, load, where_mode_is_set
from dynallow.settings.locate import locate
from dynallow.settings.model import (
    ControlSettings,
    Destination,
    FirewallSettings,
    LeaseSettings,
    ResolverSettings,
    RuleSettings,
    Settings,
    Zone,
)
from dynallow.settings.places import place
from dynallow.settings.schema import json_schema
from dynallow.settings.table import settings_table
from dynallow.settings.upstream import Upstream, parse_upstream

__all__ = [
    "DEFAULT_PATH",
    "ControlSettings",
    "Destination",
    "FirewallSettings",
    "LeaseSettings",
    "Loaded",
    "ResolverSettings",
    "RuleSettings",
    "Settings",
    "Upstream",
    "Zone",
    "files_of",
    "json_schema",
    "load",
    "locate",
    "needs_restart",
    "not_in_force",
    "parse_upstream",
    "place",
    "settings_table",
    "where_mode_is_set",
]
