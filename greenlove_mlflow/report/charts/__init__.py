"""The charts of the report page: written in Altair, compiled once, drawn by Vega."""
