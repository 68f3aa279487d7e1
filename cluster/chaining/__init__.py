"""Run several verbs in turn, each resumable, as one submission with one status and one log."""
