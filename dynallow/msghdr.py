"""The kernel's structures for many datagrams in one call, and the two calls: recvmmsg(2), sendmmsg(2).

Floor 0. Knows how `struct mmsghdr` lies in memory; must not know whose memory its
pointers lead to: whoever fills them in keeps that alive for as long as they are used.
"""

from __future__ import annotations

import ctypes
from typing import Final


class Iovec(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class Head(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("iovs", ctypes.c_void_p),
        ("iov_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """struct mmsghdr: `size` is how many bytes came, or went."""

    _fields_ = (("head", Head), ("size", ctypes.c_uint))


_libc: Final = ctypes.CDLL(None, use_errno=True)
recvmmsg: Final = _libc.recvmmsg
sendmmsg: Final = _libc.sendmmsg
"""Both let other threads run meanwhile, and `ctypes.get_errno` says why nothing came or went."""

_held: Final = ctypes.PyDLL(None)
recvmmsg_held: Final = _held.recvmmsg
sendmmsg_held: Final = _held.sendmmsg
"""For a hot path that never waits (MSG_DONTWAIT): without the two. To give the interpreter's lock away is a
tenth of a lone answer's cost, and another thread that computes would have it for 5 ms."""
