"""R-ROME: ROME's update, with the value optimised in place."""

from __future__ import annotations

from ketools.methods.rome.compute import rank_one

compute = rank_one("r-rome")
