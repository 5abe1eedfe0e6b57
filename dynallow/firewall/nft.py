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


def load(script: str) -> int:
    """Run a script as one transaction: all of it holds afterwards, or nothing (`nft -f -`).

    Returns the pid that nft had.
    """
    return _run(script, "loading the ruleset", "-f", "-")


def check(script: str) -> None:
    """Have the kernel check a script without applying it (`nft -c -f -`); takes CAP_NET_ADMIN."""
    _run(script, "checking the ruleset", "-c", "-f", "-")


def _run(script: str, doing: str, *arguments: str) -> int:
    program = find()
    if program is None:
        raise KernelError(
            f"{doing}: the program nft was not found", "install the package nftables", errno=errno.ENOENT
        )
    try:
        with subprocess.Popen(
            [program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
        ) as process:
            try:
                _, stderr = process.communicate(script, timeout=_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                process.kill()
                text = f"{doing}: nft did not finish in {_TIMEOUT_S:.0f} s"
                raise KernelError(text, errno=errno.ETIMEDOUT) from error
    except OSError as error:
        raise KernelError(
            f"{doing}: cannot run {program}: {error.strerror}", errno=error.errno or 0
        ) from error
    if process.returncode != 0:
        raise _refusal(doing, stderr.strip())
    return process.pid


def _refusal(doing: str, stderr: str) -> KernelError:
    if "Operation not permitted" in stderr or "must be root" in stderr:
        return KernelError(
            f"{doing}: nft was not permitted to", "run as root, or with CAP_NET_ADMIN", errno=errno.EPERM
        )
    return KernelError(f"{doing}: nft said: {stderr or 'nothing'}", "run `dynallow check`")
