"""The outside world behind the ports: files, SQL, Parquet, chains, keys."""
