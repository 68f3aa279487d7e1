"""The doctor: what could go wrong with a run, looked at before any money is spent."""
