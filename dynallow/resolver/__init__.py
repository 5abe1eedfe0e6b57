"""Questions in, answers out. Floor 3: knows nothing of nftables, only a `Leaser`.

`road.py` is the way of a question, top to bottom; start reading there.
"""
