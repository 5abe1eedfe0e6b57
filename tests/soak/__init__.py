"""A long run of the real agent under load, with a fault every few seconds: `python -m tests.soak`."""
