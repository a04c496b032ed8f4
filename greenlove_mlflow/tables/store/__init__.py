"""Dated tables on disk: read, checked against their schema and written as Parquet."""
