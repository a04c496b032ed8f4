"""The time of a run: fits, step profiles, drift, forecasts."""
