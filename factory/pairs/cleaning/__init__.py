"""Pairs taken out of a run, for a copy of it that others may have."""
