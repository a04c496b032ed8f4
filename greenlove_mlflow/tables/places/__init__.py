"""The electricity of a place."""
