"""Unit conversions. Multiply by the constant to convert to the smaller unit."""

from __future__ import annotations

S_PER_H = 3600.0
J_PER_KWH = 3.6e6
G_PER_KG = 1000.0
US_PER_S = 1e6
