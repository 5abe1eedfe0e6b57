"""The kernel's side: ruleset, sets, elements. Floor 3: knows nothing of DNS."""
