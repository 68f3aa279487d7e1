"""The job around units of any kind: run what is open, guard it, report it, here or elsewhere."""
