"""Read Parquet files that strangers made, without unpacking more than they may hold."""
