"""Why an install or an uninstall must not even begin: everything at once, each with what to do.

Looks, and changes nothing. Keeps: no step is taken on a host where a later one is known to fail.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dynallow.errors import SetupError
from dynallow.setup import shipped_files as shipped
from dynallow.setup.found import Found
from dynallow.setup.plan import Wish
from dynallow.setup.record import DIRECTORY
from dynallow.setup.rulers import RESOLV_CONF
from dynallow.setup.steps import GiveBack, Place, Plan
from dynallow.setup.things import Root

# What the services do not see: ProtectHome=, PrivateTmp=.
_UNSEEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108
_GET_FLAGS, _IMMUTABLE = 0x80086601, 0x10  # FS_IOC_GETFLAGS, FS_IMMUTABLE_FL (linux/fs.h)
_BOOTED = Path("/run/systemd/system")  # sd_booted(3)
_NO_RESOLVER = "name the servers to ask: --upstream ADDRESS, as often as there are servers"


def refuse_install(
    root: Root, found: Found, wish: Wish, plan: Plan, *, upstreams: Sequence[str], listeners: Iterable[str]
) -> None:
    """Raise SetupError with every reason. `listeners` are those who hold port 53 and are not dynallow."""
    reasons = [*_host(found), *_program(root, wish)]
    if found.live and shutil.which("nft") is None:
        reasons.append(("nft is not installed", "apt install nftables"))
    takes_over = any(isinstance(step, Place) and step.part == "resolver" for step in plan.steps)
    if takes_over and not upstreams:
        reasons.append((f"{RESOLV_CONF} names no server that could be asked", _NO_RESOLVER))
    if shipped.SOCKET not in found.active:
        reasons += [(f"port 53 is taken: {each}", _way_out(each)) for each in listeners]
    _raise([*reasons, *_unwritable(root, plan)])


def refuse_uninstall(root: Root, found: Found, plan: Plan) -> None:
    """Raise SetupError with every reason."""
    _raise([*_host(found), *_unwritable(root, plan)])


def _raise(reasons: Sequence[tuple[str, str]]) -> None:
    if reasons:
        hints = dict.fromkeys(hint for _, hint in reasons)
        raise SetupError("\n".join(reason for reason, _ in reasons), "; ".join(hints))


def _host(found: Found) -> Iterator[tuple[str, str]]:
    if found.live and os.geteuid() != 0:
        yield "this takes root", "sudo dynallow …, or --root DIR for a directory of your own"
    if found.live and not _BOOTED.is_dir():
        yield "systemd does not run this host", "--root DIR sets up an image; `dynallow run` needs no systemd"


def _program(root: Root, wish: Wish) -> Iterator[tuple[str, str]]:
    """The units will name it: it must be there, and where the services see it."""
    path = root.at(wish.program)
    hint = "make a venv below /opt, `pip install` dynallow there, and run that one; or --program PATH"
    if not path.is_file() or not os.access(path, os.X_OK):
        if not (path.is_symlink() and not root.is_live):
            yield f"{wish.program}: expected the dynallow program, got nothing that can be run", hint
        return
    for each in {wish.program, *_interpreter(path)}:
        if each.startswith(_UNSEEN):
            yield f"{each}: the services do not see what is in there", hint


def _interpreter(program: Path) -> Iterator[str]:
    """The Python that a script names, and the one that this is a link to."""
    with program.open("rb") as script:
        opening = script.readline(300).decode(errors="replace").split()
    if opening and opening[0].startswith("#!/") and "python" in opening[0]:
        yield opening[0][2:]
        yield os.path.realpath(opening[0][2:])


def _unwritable(root: Root, plan: Plan) -> Iterator[tuple[str, str]]:
    told: set[Path] = set()
    barred: set[Path] = set()
    paths = [step.path for step in plan.steps if isinstance(step, Place | GiveBack)]
    for path in [*paths, DIRECTORY] if plan.steps else []:
        place = root.at(path)
        for each in (place, _standing(place.parent)):
            if each in told:
                continue
            told.add(each)
            if _is_immutable(each):
                yield f"{each} is immutable", f"chattr -i {each}"
        above = _standing(place.parent)
        if not os.access(above, os.W_OK) and above not in barred:
            barred.add(above)
            yield f"{above} cannot be written to", f"mount -o remount,rw the file system of {above}"


def _standing(path: Path) -> Path:
    """The nearest directory above that exists."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _is_immutable(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        flags = array.array("L", [0])
        fcntl.ioctl(descriptor, _GET_FLAGS, flags)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM):
            return False
        raise
    finally:
        os.close(descriptor)
    return bool(flags[0] & _IMMUTABLE)


def _way_out(listener: str) -> str:
    process = listener.split()[0]
    service = {"named": "named", "unbound": "unbound", "dnsmasq": "dnsmasq", "pdns_recursor": "pdns-recursor"}
    stop = f"`systemctl disable --now {service.get(process, process)}`"
    return f"{stop}, or have it listen on another address or port and name that with --upstream"
