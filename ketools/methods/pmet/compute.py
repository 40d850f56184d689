"""PMET: MEMIT's update for the FFN's own output, spread by square roots."""

from __future__ import annotations

from ketools.methods.located import Rule, jointly
from ketools.methods.memit.compute import balanced
from ketools.methods.memit.config import DEPTHS

compute = jointly(Rule("pmet", DEPTHS, balanced, part=lambda remaining: remaining**-0.5, attention=True))
