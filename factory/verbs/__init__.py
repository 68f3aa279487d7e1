"""What the command line calls, a file a verb."""
