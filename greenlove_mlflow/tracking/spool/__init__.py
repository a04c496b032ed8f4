"""The spool: events for MLflow are written to disk first, then delivered."""
