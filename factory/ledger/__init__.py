"""What is promised of a run, and where it stands: plan, commits, roll-ups, manifests."""
