"""What follows from the records for the settings. Pure: no agent, no socket, no file, no clock."""
