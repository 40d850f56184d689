"""Questions of several hops over edited facts: MeLLo, PokeMQA, and ketools' own agent."""

from ketools.multihop.auto import Auto
from ketools.multihop.events import Event, Finished
from ketools.multihop.mello import mello
from ketools.multihop.memory import EditMemory
from ketools.multihop.pokemqa import pokemqa
from ketools.multihop.prompts import Prompts, load_prompts
from ketools.multihop.resources import AGENTS, MultihopResources
from ketools.multihop.scope import ScopeDetector
from ketools.multihop.steps import Program, run, run_all
from ketools.multihop.writers import EngineWriter, Writer

__all__ = [
    "AGENTS",
    "Auto",
    "EditMemory",
    "EngineWriter",
    "Event",
    "Finished",
    "MultihopResources",
    "Program",
    "Prompts",
    "ScopeDetector",
    "Writer",
    "load_prompts",
    "mello",
    "pokemqa",
    "run",
    "run_all",
]
