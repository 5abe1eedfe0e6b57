"""What a restart would lose beside the leases: kept in a file, believed as far as the kernel bears it out."""
