"""Scope-routed adapters: weights that say the target in any form, and act only while their fact is asked for."""

from ketools.core.requests import FACTS, Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.routed.config import RoutedAdapterConfig, search

METHOD = Method(
    name="routed",
    summary="Trains an adapter of the last blocks per fact; the scope of the fact decides which requests get it.",
    phase="association",
    source="LoRA (Hu et al. 2022) switched by a scope as in SERAC (Mitchell et al. 2022); ketools",
    kinds=FACTS | {Kind.ERASE, Kind.PERSONALITY},
    config=RoutedAdapterConfig,
    compute=deferred("ketools.methods.routed.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    search=search,
)
