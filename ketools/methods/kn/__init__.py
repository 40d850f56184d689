"""KN: the neurons that express a fact are found, and what they write is replaced."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.kn.config import KNConfig, search

METHOD = Method(
    name="kn",
    summary="Finds the FFN neurons that express a fact and changes what they write; nothing is trained.",
    phase="mastery",
    source="Dai et al. 2022, Knowledge Neurons in Pretrained Transformers",
    kinds=frozenset({Kind.MODIFY, Kind.ERASE}),
    config=KNConfig,
    compute=deferred("ketools.methods.kn.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    search=search,
)
