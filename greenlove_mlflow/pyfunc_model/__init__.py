"""The estimator as an MLflow model, logged into a run and served without torch."""

from __future__ import annotations
