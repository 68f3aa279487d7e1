"""What an export may be read by, a file each."""
