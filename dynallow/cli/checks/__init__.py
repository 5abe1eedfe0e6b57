"""What `dynallow doctor` looks at, one subject a file.

Each `examine_…` gathers and hands on findings; what judges what was gathered
is pure and takes the gathered values as arguments. No check ends the others:
what cannot be looked at is a finding too.
"""
