"""MEMIT: many facts at once, spread over several layers, by least squares."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.memit.config import MEMITConfig, search

METHOD = Method(
    name="memit",
    summary="Writes many facts at once into several FFN down projections, by least squares.",
    phase="mastery",
    source="Meng et al. 2023, Mass-Editing Memory in a Transformer",
    kinds=frozenset(Kind),
    config=MEMITConfig,
    compute=deferred("ketools.methods.memit.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    joint=True,
    search=search,
)
