"""A language model of one's choice decides which change a turn asks for; nothing is carried out here."""

from __future__ import annotations

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ValidationError

from ketools.agents.conversation import Planner
from ketools.agents.editing import EDITING_TOOLS
from ketools.agents.intents import Proposal, asks
from ketools.core.errors import ModelError
from ketools.tools.schemas import get_tool, input_model, input_schema

__all__ = ["Planner", "planned_by"]

SYSTEM = """\
Decide whether the user's last message asks for a lasting change of what a model knows: a correction or a new fact \
(edit_fact), something to be forgotten (erase_fact), another tone on a topic (edit_personality). If so, call that \
tool once. For questions, remarks, opinions, guesses and small talk call none and answer with the word none."""


def planned_by(llm: BaseChatModel) -> Planner:
    """A planner that asks a chat model with tool calling. A question never becomes a change, whatever the model says.

    The planner raises `ModelError` when the model cannot be reached.
    """
    model = llm.bind_tools([_announced(name) for name in EDITING_TOOLS])

    def plan(text: str, last_question: str | None) -> Proposal | None:
        if asks(text):
            return None
        asked = [HumanMessage(last_question)] if last_question else []
        try:
            said = model.invoke([SystemMessage(SYSTEM), *asked, HumanMessage(text)])
        except Exception as error:  # providers raise whatever they like
            raise ModelError(f"The language model of --llm cannot answer ({error}). Check that it is up.") from error
        return _first(said)

    return plan


def _announced(name: str) -> dict[str, object]:
    tool = get_tool(name)
    schema = {**input_schema(input_model(tool)), "title": name, "description": tool.description}
    return convert_to_openai_tool(schema)


def _first(said: BaseMessage) -> Proposal | None:
    """The first good tool call of an answer; the space is not the model's to choose."""
    for made in said.tool_calls if isinstance(said, AIMessage) else ():
        arguments = {key: value for key, value in made["args"].items() if key not in ("space", "dry_run")}
        if made["name"] in EDITING_TOOLS and _is_good(made["name"], arguments):
            return Proposal(made["name"], arguments)
    return None


def _is_good(name: str, arguments: dict[str, object]) -> bool:
    try:
        input_model(get_tool(name)).model_validate(arguments)
    except ValidationError:
        return False
    return True
