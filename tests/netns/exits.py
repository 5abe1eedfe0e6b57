"""All ways out. The tests take their ids from here, exits_process.py the attempts."""

from __future__ import annotations

from tests.netns.exits_root import ROOT_WAYS
from tests.netns.exits_user import USER_WAYS
from tests.netns.wayout import Way

WAYS: tuple[Way, ...] = (*USER_WAYS, *ROOT_WAYS)
