"""Check a run against its own records: every object, every hash, every count."""
