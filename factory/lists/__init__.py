"""Lists that people bring: JSON lines, CSV or Parquet, here or in a bucket."""
