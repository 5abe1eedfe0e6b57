"""What the agent knows, as the control API tells it. Reads the rooms' public sides, changes nothing."""
