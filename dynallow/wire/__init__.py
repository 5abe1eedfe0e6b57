"""DNS bytes in, values out, and back: parsing, the chain walk, rendering, lowering TTLs.

Floor 1, pure: knows RFC 1035 and its kin, imports nothing but `dynallow.errors`
and the standard library's byte tools; no sockets, clocks, loops or files. It is
hand-written because it is the hot path (DESIGN section 6); dnspython and dnslib
are its oracles in the tests.

Everything outside may be hostile: a function here either returns a value made
from a wholly validated message or raises `WireError`, and its work is linear in
the message's size.
"""
