"""Arithmetic on frozen records: no files, network, clock, torch, mlflow or pandas."""
