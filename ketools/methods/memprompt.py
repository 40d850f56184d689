"""MemPrompt: a memory of users' corrections, put before the prompts that they clarify; no weight changes.

The paper looks up the nearest stored query and takes its feedback above a threshold of similarity alone. Here a
prompt must also name the subject and ask for the fact, as with every note, so that a correction about one subject
never reaches a question about another; of several that fit, the nearest and newest is used, as in the paper.
"""

from ketools.core.requests import FACTS
from ketools.methods.base import Capability, Method, MethodConfig
from ketools.methods.notes import noting

METHOD = Method(
    name="memprompt",
    summary="Keeps a user's correction and puts it before the prompts it clarifies; instant, no weights change.",
    phase="recognition",
    source="Madaan et al. 2022, Memory-assisted Prompt Editing to Improve GPT-3 After Deployment",
    kinds=FACTS,
    config=MethodConfig,
    compute=noting("memprompt"),
    capabilities=frozenset({Capability.IN_PROMPTS}),
    needs_model=False,
)
