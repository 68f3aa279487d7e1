"""How a run of any stage is stored: its description, commits, tallies and segments."""
