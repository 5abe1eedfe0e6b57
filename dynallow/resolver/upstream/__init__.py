"""The other side of the resolver: servers that know. Every socket here carries the agent's mark."""
