"""Who may be reached, until when, and who earned it. Floor 1: pure, time is an argument."""
