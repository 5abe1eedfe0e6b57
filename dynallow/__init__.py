"""dynallow: a Linux host talks to the names on a list, and to nothing else."""

__version__ = "0.1.0"
