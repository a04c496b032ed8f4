"""Power, energy and everyday equivalents of CO2e."""
