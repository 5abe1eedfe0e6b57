"""The `nft` program: loads and checks ruleset text. Nothing else starts a process here."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess

from dynallow.errors import KernelError

_TIMEOUT_S = 20.0
_SBIN = "/usr/sbin:/sbin:/usr/local/sbin"  # not on an ordinary user's PATH


def find() -> str | None:
    """The path of `nft`, or None."""
    return shutil.which("nft") or shutil.which("nft", path=_SBIN)


def load(script: str) -> None:
    """Run a script as one transaction: all of it holds afterwards, or nothing (`nft -f -`)."""
    _run(script, "loading the ruleset", "-f", "-")


def check(script: str) -> None:
    """Have the kernel check a script without applying it (`nft -c -f -`); takes CAP_NET_ADMIN."""
    _run(script, "checking the ruleset", "-c", "-f", "-")


def _run(script: str, doing: str, *arguments: str) -> None:
    done = _call(script, doing, *arguments)
    if done.returncode != 0:
        raise _refusal(doing, done.stderr.strip())


def _call(script: str, doing: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = find()
    if program is None:
        raise KernelError(
            f"{doing}: the program nft was not found", "install the package nftables", errno=errno.ENOENT
        )
    try:
        return subprocess.run(
            [program, *arguments],
            input=script,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        text = f"{doing}: nft did not finish in {_TIMEOUT_S:.0f} s"
        raise KernelError(text, errno=errno.ETIMEDOUT) from error
    except OSError as error:
        text = f"{doing}: cannot run {program}: {error.strerror}"
        raise KernelError(text, errno=error.errno or 0) from error


def _refusal(doing: str, stderr: str) -> KernelError:
    if "Operation not permitted" in stderr or "must be root" in stderr:
        return KernelError(
            f"{doing}: nft was not permitted to", "run as root, or with CAP_NET_ADMIN", errno=errno.EPERM
        )
    return KernelError(f"{doing}: nft said: {stderr or 'nothing'}", "run `dynallow check`")
