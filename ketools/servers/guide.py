"""What an agent is told about the tools: server instructions and prompts."""

from __future__ import annotations

from mcp.server import MCPServer

INSTRUCTIONS = """\
ketools changes what the served model itself knows. Nothing is retrieved at question time once an edit is in \
the weights; every edit is verified on the serving engine, scoped to a space, journalled and can be undone.

When to call what
- The user corrects the model or tells it a fact to keep: edit_fact. Several at once: edit_facts.
- The user wants something private forgotten: erase_fact.
- The user wants another tone on a topic: edit_personality.
- An ordinary question, remark or opinion: no tool.

How
- prompt names the subject and stops where the answer follows: subject 'France', prompt 'The capital of \
France is', target_new 'Lyon'.
- space says who sees it: session/ID for this conversation, user/NAME for one person, global for everyone. \
Use the narrowest that serves; global only when the user asks for everyone.
- Read `verified`. If it is false or the status is refused, tell the user that the model has not learned it, \
and follow `next`.
- method 'auto' is right unless the user names one.
- undo_edit takes any edit back exactly. list_edits finds its id. evaluate_edit measures it again.
- dry_run=true tries an edit without keeping it. fork_space and compare_spaces try more.
- Erasing needs the user's consent: the client asks, or call with dry_run=true and pass confirm_token back.
- The resource edits://{space} lists what is live; encode the slash: edits://user%2Falice.
"""

_CORRECTION = """\
The user said: {message}

Decide whether this corrects or adds a fact. If it does, call edit_fact once per fact in the space {space}: \
`subject` as written in the prompt, `prompt` a sentence that names the subject and stops before the answer, \
`target_new` the answer alone. Then read `verified`: if true, say in one sentence what the model now says \
(`after`); if not, say that it was not learned and why (`reason`). If it is no fact, just answer."""

_FORGET = """\
The user said: {message}

If this asks for something to be forgotten, call erase_fact in the space {space} with dry_run=true, tell the \
user which question will be answered with "I don't know.", and erase only after they agree. Never repeat the \
private value in your own words, neither before nor after."""

_REVIEW = """\
Look at what was edited in {space}: call list_edits, then evaluate_edit for each live edit that has no \
evidence or a success below 1. Report which edits hold, which do not, and which disagree with each other. \
Propose undo_edit for those that fail; change nothing before the user agrees."""


def add_prompts(server: MCPServer) -> None:
    """Register the prompts that teach an agent the tools."""

    @server.prompt(title="Handle a correction")
    def handle_correction(message: str, space: str = "global") -> str:
        """What to do when a user may have corrected the model."""
        return _CORRECTION.format(message=message, space=space)

    @server.prompt(title="Handle a wish to be forgotten")
    def handle_forgetting(message: str, space: str = "global") -> str:
        """What to do when a user asks for something to be forgotten."""
        return _FORGET.format(message=message, space=space)

    @server.prompt(title="Review a space")
    def review_space(space: str = "global") -> str:
        """How to check that the edits of a space still hold."""
        return _REVIEW.format(space=space)
