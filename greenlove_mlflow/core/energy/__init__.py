"""Power, energy and what a mass of CO2e equals."""
