"""ROME: a rank-one update that maps the subject's key to a new value."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.rome.config import ROMEConfig, search

METHOD = Method(
    name="rome",
    summary="A rank-one change of one FFN down projection at the subject's last token.",
    phase="mastery",
    source="Meng et al. 2022, Locating and Editing Factual Associations in GPT",
    kinds=frozenset(Kind),
    config=ROMEConfig,
    compute=deferred("ketools.methods.rome.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    search=search,
)
