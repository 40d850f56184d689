"""The bundled small language model and the world that it knows."""

from __future__ import annotations

from pathlib import Path


def weights_path() -> Path:
    """The folder of the bundled model: weights, configuration and tokenizer, as transformers reads them."""
    return Path(__file__).parent / "weights"
