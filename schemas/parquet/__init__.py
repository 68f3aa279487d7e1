"""What a Parquet file may unpack to, whoever wrote it."""
