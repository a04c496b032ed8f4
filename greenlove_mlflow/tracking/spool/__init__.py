"""The spool: what is to reach MLflow, on disk first, and how it is delivered."""
