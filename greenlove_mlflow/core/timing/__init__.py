"""The time of a training: fits, what a step spends its time on, drift, forecasts."""
