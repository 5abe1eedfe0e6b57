"""Putting dynallow on a host and taking it off again: plan, shown, done, undone.

`found` looks, `plan` and `unplan` decide (typed steps, computed from what was found and from the record),
`perform` acts, and writes down each step before it takes it. Nothing here knows DNS answers or nf_tables.
"""
