"""The charts of the report page: written with Altair once, drawn by Vega."""
