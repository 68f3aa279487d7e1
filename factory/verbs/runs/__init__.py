"""The commands on a run that is there."""
