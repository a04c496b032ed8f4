"""Dated tables on disk: read, checked against their schema, written as Parquet."""
