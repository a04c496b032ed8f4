"""Tracked runs estimated again from their statistics: other prices, another grid, another plan.

The package is not called ``reestimate``: importing it would then hide ``greenlove_mlflow.reestimate``, the function.
"""
