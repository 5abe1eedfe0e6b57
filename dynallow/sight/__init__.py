"""What was asked, used and denied: joined with names, users and processes, counted, kept. A by-stander."""
