"""What a whole job will take, told from a pilot run."""
