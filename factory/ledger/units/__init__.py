"""What is known of a unit: its attempts, its commit and outcomes, strikes against it, its retries."""
