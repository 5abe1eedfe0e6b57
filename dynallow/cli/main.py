"""The command line's top: which verb, and what an error becomes.

Knows the verbs' names, the error families and the exit codes. Must not import
a verb that was not chosen. Keeps: results go to stdout and everything else to
stderr; every way out has its exit code (DESIGN section 9); this is the one
place of the CLI with a broad `except`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from dynallow import __version__
from dynallow.errors import DynallowError

VERBS = {
    "run": "run the agent in the foreground (what systemd starts)",
    "status": "who may be reached right now, for how much longer, and why (the default)",
    "explain": "why a name or an address is allowed or denied",
    "denied": "what was denied lately, and by whom",
    "log": "decisions as they happen, one line each",
    "check": "validate the settings, and have nft check the ruleset",
    "ruleset": "print the ruleset that the settings give",
    "firewall": "load the last good ruleset where none is in force (what systemd starts at boot)",
    "reload": "have the agent read its settings again, all or nothing",
    "flush": "revoke leases and cut their connections",
    "mode": "switch between observe and enforce",
    "confirm": "keep what is on trial, or take it back at once",
    "suggest": "rules in TOML for what was denied, or would have been",
    "replay": "what was recorded against other settings: what would break, what would open",
    "audit": "rules that no longer earn their place",
    "report": "one HTML file that shows what holds and what happened",
    "doctor": "look for what is wrong on this host, and say what to do",
    "install": "user, units, settings and resolv.conf of this host, shown before it is done",
    "uninstall": "take back what install has done, and open the host",
}
_DEFAULT = "status"
_USAGE = "usage: dynallow [-h] [--version] [--socket PATH] [VERB] [ARGUMENT ...]"
_EXITS = """exit codes: 0 done, 1 failed (audit: or something was found), 2 usage, 3 settings invalid,
            4 agent not reachable, 5 denied (explain; replay: would break), 6 kernel refused
environment: DYNALLOW_SOCKET (the agent's control socket), NO_COLOR, DYNALLOW_DEBUG=1 (tracebacks)"""
_INTERRUPTED = 130
_BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended


class Verb(Protocol):
    """What a verb's module offers."""

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None: ...
    @staticmethod
    def execute(args: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except DynallowError as error:
        return _failed(error)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return _BROKEN_PIPE
    except Exception as error:
        if os.environ.get("DYNALLOW_DEBUG") == "1":
            raise
        _say(f"internal error: {type(error).__name__}: {error}", "DYNALLOW_DEBUG=1 shows where")
        return DynallowError.exit_code
    return code


def _dispatch(argv: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # LANG=C must not turn "✓" into a traceback
    before, verb, rest = split(argv)
    if before[:1] in (["-h"], ["--help"]):
        print(overview())
        return 0
    if before[:1] == ["--version"]:
        print(f"dynallow {__version__}")
        return 0
    if verb not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(verb, VERBS, 1)
        _say(f"no such verb: {verb}", f"did you mean {near[0]}?" if near else "dynallow -h lists them")
        return 2
    module = cast(Verb, importlib.import_module(f"dynallow.cli.{verb}"))
    parser = argparse.ArgumentParser(
        prog=f"dynallow {verb}", description=f"{VERBS[verb].capitalize()}.", allow_abbrev=False
    )
    module.arguments(parser)
    return module.execute(parser.parse_args(before + rest))


def split(argv: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """The global options, the verb, and its arguments; with no verb they are all `status`'s.

    `--socket PATH` may stand before the verb; every other option follows it.
    """
    before: list[str] = []
    at = 0
    while at < len(argv):
        word = argv[at]
        if word == "--socket":
            before += argv[at : at + 2]
            at += 2
        elif word.startswith("--socket="):
            before.append(word)
            at += 1
        elif word in ("-h", "--help", "--version"):
            return [word], _DEFAULT, []
        elif word.startswith("-"):
            return before, _DEFAULT, list(argv[at:])
        else:
            return before, word, list(argv[at + 1 :])
    return before, _DEFAULT, []


def overview() -> str:
    """The text of `dynallow -h`."""
    verbs = "\n".join(f"  {verb:<8} {does}" for verb, does in VERBS.items())
    return (
        f"{_USAGE}\n\nA Linux host talks to the names on a list, and to nothing else.\n\n"
        f"{verbs}\n\ndynallow VERB -h tells a verb's arguments. --json: results as JSON.\n\n{_EXITS}"
    )


def _failed(error: DynallowError) -> int:
    if os.environ.get("DYNALLOW_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    _say(error.message, error.hint)
    return error.exit_code


def _say(message: str, hint: str) -> None:
    from dynallow.cli.output import escape

    for number, line in enumerate(message.splitlines() or [""]):
        print(f"{'  ' if number else 'dynallow: '}{escape(line)}", file=sys.stderr)
    if hint:
        print(f"  hint: {escape(hint)}", file=sys.stderr)


def _forget_stdout() -> None:
    # The interpreter flushes stdout once more at exit and would complain there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
