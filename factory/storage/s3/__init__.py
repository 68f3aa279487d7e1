"""S3 and what calls itself so: one store, its client, its errors, pages and replies."""
