"""What trainings may be told, and what they store about themselves."""
