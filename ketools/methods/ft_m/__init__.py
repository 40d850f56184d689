"""FT-M: fine-tuning of one FFN layer on the target's tokens, with the prompt masked."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.ft_m.config import FTMConfig, search

METHOD = Method(
    name="ft-m",
    summary="Trains one FFN down projection on the target's tokens; strong and general, a dense change.",
    phase="mastery",
    source="Zhang et al. 2024, A Comprehensive Study of Knowledge Editing for LLMs, section 4.1",
    kinds=frozenset(Kind),
    config=FTMConfig,
    compute=deferred("ketools.methods.ft_m.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    search=search,
)
