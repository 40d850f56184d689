"""Dense retrieval: sentence encoders and an index of facts that scans a few and searches millions."""

from ketools.retrieval.encoders import Encoder, EndpointEncoder, MiniLMEncoder, Vectors, load_encoder
from ketools.retrieval.index import FactIndex, FactView, Found
from ketools.retrieval.store import Fact

__all__ = [
    "Encoder",
    "EndpointEncoder",
    "Fact",
    "FactIndex",
    "FactView",
    "Found",
    "MiniLMEncoder",
    "Vectors",
    "load_encoder",
]
