"""What was asked, used and denied, as values that every verb reads that looks back."""
