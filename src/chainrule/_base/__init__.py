"""What everything stands on, and what needs no array: errors, types, checks of options, whole files."""
