"""A real training while it runs: reported to, timed, metered, forecast and held to its limits."""
