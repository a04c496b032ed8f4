"""A real training while it runs: timed, metered, forecast and held to its limits."""
