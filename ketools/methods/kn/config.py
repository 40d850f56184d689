"""Hyper-parameters of KN and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.base import MethodConfig
from ketools.models.options import Breadth


class KNConfig(MethodConfig):
    """KN. `steps`: of the integration. `threshold`: a neuron counts for a prompt from this share of the largest
    attribution on; `share`: of the prompts for which it must count; `most`: how many neurons change at most.

    `old`, `new`: lambda 1 and 2, by which the embedding of the old answer is taken from, and that of the new one
    added to, what a neuron writes. `templates`: phrasings of the fact, each as cloze and as question.
    """

    steps: int = Field(default=20, ge=1, le=200)
    threshold: float = Field(default=0.2, gt=0, le=1)
    share: float = Field(default=0.4, gt=0, le=1)
    most: int = Field(default=16, ge=1, le=512)
    old: float = Field(default=1.0, ge=0, le=1000)
    new: float = Field(default=8.0, ge=0, le=1000)
    templates: int = Field(default=3, ge=0, le=8)

    @property
    def breadth(self) -> Breadth:
        """The phrasings that are looked at."""
        return Breadth(self.templates, conversations=False, prefixes=0, relations=0, neighbours=0)


def search(n_layers: int) -> list[KNConfig]:
    """How many neurons change, and by how much."""
    return [KNConfig(share=share, new=new) for share in (0.4, 0.7) for new in (2.0, 8.0, 32.0)]
