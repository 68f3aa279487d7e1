"""What an edit is measured by."""
