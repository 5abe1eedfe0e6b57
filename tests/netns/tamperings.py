"""What others' hands can do to `table inet dynallow`, each as one nft transaction; for both modes of it.

Knows the table of an agent with a rule "web" that leases HOT_ADDRESS. Must not know what comes of it.
"""

from __future__ import annotations

from tests.lab import Lab

HOT_ADDRESS = "198.18.0.1"
NFTABLES_CONF = """flush ruleset
table inet filter {
	chain input { type filter hook input priority filter; }
	chain forward { type filter hook forward priority filter; }
	chain output { type filter hook output priority filter; }
}
"""
"""As Debian's /etc/nftables.conf, which `systemctl reload nftables` has `nft -f` load."""

TAMPERINGS = {
    "flush-ruleset": "flush ruleset",
    "systemctl-reload-nftables": NFTABLES_CONF,
    "delete-table": "delete table inet dynallow",
    "flush-table": "flush table inet dynallow",
    "flush-chain": "flush chain inet dynallow output",
    "flush-denied-chain": "flush chain inet dynallow denied",
    "delete-nat-chain": "flush chain inet dynallow nat_output\ndelete chain inet dynallow nat_output",
    "inserted-accept": "insert rule inet dynallow output accept",
    "chain-policy": "chain inet dynallow output { policy accept; }",
    "flush-set": "flush set inet dynallow web_v4",
    "delete-element": f"delete element inet dynallow web_v4 {{ {HOT_ADDRESS} }}",
    "delete-rule": "",  # by handle, see `script_of`
    "delete-set": "",  # with the rules that use it, in one transaction
    "foreign-element": "add element inet dynallow web_v4 { 198.51.100.200 timeout 1h }",
    "foreign-set": "add set inet dynallow mine { type ipv4_addr; }",
    "foreign-chain": "add chain inet dynallow mine",
    "dormant": "add table inet dynallow { flags dormant; }",
}
PASSED_OVER = ("flush-ruleset", "systemctl-reload-nftables")
"""What says no word of our table: where it is owned, it is passed over, and the rest is done."""


def script_of(lab: Lab, kind: str) -> str:
    """For `nft -f`; "" where the table does not have what it takes away."""
    if kind not in ("delete-rule", "delete-set"):
        return TAMPERINGS[kind]
    rules = [
        item["rule"]
        for chain in ("used", "output")
        for item in lab.host.nft_json("chain", "inet", "dynallow", chain)
        if "rule" in item
    ]
    chosen = [rule for rule in rules if "@web_v4" in str(rule)] if kind == "delete-set" else rules[-1:]
    lines = [f"delete rule inet dynallow {rule['chain']} handle {rule['handle']}" for rule in chosen]
    if kind == "delete-set":
        lines.append("delete set inet dynallow web_v4")
    return "\n".join(lines)
