"""FT-L: constrained fine-tuning of one FFN layer on the last token of the prompt."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.ft_l.config import FTLConfig, search

METHOD = Method(
    name="ft-l",
    summary="Trains one FFN down projection so that the prompt's last token predicts the target; a small dense change.",
    phase="mastery",
    source="Zhu et al. 2020, Modifying Memories in Transformer Models; as in Meng et al. 2022, appendix E",
    kinds=frozenset(Kind),
    config=FTLConfig,
    compute=deferred("ketools.methods.ft_l.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    search=search,
)
