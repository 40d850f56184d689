"""The layers behind the gateway's model names: current at once, and one query while nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from ketools.core.principals import OPERATOR, principal
from ketools.core.requests import build_request
from ketools.layers.composition import BASE
from ketools.servers.gateway import models
from ketools.servers.gateway.errors import ApiError
from ketools.servers.gateway.models import Models
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

if TYPE_CHECKING:
    from tests.conftest import Place

pytestmark = pytest.mark.anyio
ALICE = principal("alice", ["read"], ["user/alice", "session/alice/*"])


@pytest.fixture
def shared(place: Place, tmp_path: Path) -> Iterator[EditService]:
    """A service on each kind of journal."""
    settings = Settings(home=tmp_path, journal=place.where, secret_path=place.secret, consolidate=False)
    with closing(open_service(settings)) as service:
        yield service


@contextmanager
def queries(service: EditService) -> Iterator[list[str]]:
    """What the journal is asked while the block lasts."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement != "BEGIN":
            asked.append(statement)

    engine = service.journal._db.engine
    event.listen(engine, "before_cursor_execute", note)
    yield asked
    event.remove(engine, "before_cursor_execute", note)


def edit(service: EditService, space: str, lyon: Callable[..., dict[str, Any]]) -> None:
    facts = {key: lyon(space)[key] for key in ("subject", "prompt", "target_new")}
    assert service.edits.edit(OPERATOR, build_request(**facts), space, method="ice").status == "committed"


async def test_a_change_by_another_server_counts_for_the_next_request(
    shared: EditService, place: Place, lyon: Callable[..., dict[str, Any]]
) -> None:
    serving = Models(shared, "atlas")
    assert (await serving.layer(ALICE, "atlas@session/alice/1")).edits == ()
    with closing(open_service(shared.settings)) as other:
        edit(other, "user/alice", lyon)
    layer = await serving.layer(ALICE, "atlas@session/alice/1")
    assert [shared.backend.runtime().notes.request(note).target_new for _, note in layer.notes] == ["Lyon"]
    assert await serving.layer(ALICE, "atlas@user/alice") == layer
    assert await serving.layer(ALICE, "atlas") is BASE


async def test_a_space_costs_one_query_while_nothing_is_written(
    shared: EditService, lyon: Callable[..., dict[str, Any]]
) -> None:
    serving = Models(shared, "atlas")
    edit(shared, "user/alice", lyon)
    for name in ("atlas@user/alice", "atlas@session/alice/never-edited"):
        first = await serving.layer(ALICE, name)
        with queries(shared) as asked:
            assert await serving.layer(ALICE, name) is first
        assert len(asked) == 1, asked


async def test_no_more_layers_are_kept_than_allowed(service: EditService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "KEPT", 3)
    serving = Models(service, "atlas")
    for i in range(10):
        await serving.layer(OPERATOR, f"atlas@session/{i}")
    assert len(serving._heads) == 3


@pytest.mark.parametrize(
    "name", ["", "other", "atlas@", "atlas@team/unknown", "atlas@user/bob", "atlas@a b", "x@atlas"]
)
async def test_what_cannot_be_read_does_not_exist(service: EditService, name: str) -> None:
    with pytest.raises(ApiError, match="does not exist or you do not have access") as refused:
        await Models(service, "atlas").layer(ALICE, name)
    assert refused.value.status == 404


async def test_only_readable_spaces_are_listed(service: EditService) -> None:
    for name in ("user/alice", "user/bob"):
        service.runtime.spaces.create(name)
    listed = [card["id"] for card in await Models(service, "atlas").listed(ALICE)]
    assert listed == ["atlas", "atlas@global", "atlas@user/alice"]
