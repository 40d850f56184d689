"""vLLM killed, a replica added, a server killed between journal and load: the state converges to the journal."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ketools.atlas import weights_path
from ketools.core.errors import EngineUnavailable
from ketools.core.principals import OPERATOR
from ketools.core.requests import build_request
from ketools.engines.vllm.engine import VLLMEngine
from ketools.engines.vllm.process import RESTARTS_S, VLLMServer
from ketools.layers.composition import BASE, EditLayer
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

MakeLayer = Callable[..., EditLayer]
QUESTION = ["The capital of France is", "The capital of Japan is", "The currency of Peru is"]


@pytest.fixture()
def service(world: Any, tmp_path: Path) -> Iterator[EditService]:
    """A tool server on the shared vLLM, with a journal of its own."""
    settings = Settings(
        home=tmp_path, engine="vllm", urls=world.server.url, adapters=world.store.root, consolidate=False, wait_s=480
    )
    with closing(open_service(settings)) as service:
        yield service


def lyon(**changes: Any) -> Any:
    fields = {"subject": "France", "prompt": "The capital of France is", "target_new": "Lyon"}
    return build_request(**{**fields, **changes})


def test_an_edit_through_the_service_is_verified_on_vllm_and_undone_bit_for_bit(service: EditService) -> None:
    before = service.asking.ask(OPERATOR, "What is the capital of France?", "user/a", fingerprint=True)
    made = service.edits.edit(OPERATOR, lyon(), "user/a", "ft-m")
    assert made.verified and made.evidence and made.evidence.residual < 0.3
    assert "Lyon" in service.asking.ask(OPERATOR, "What is the capital of France?", "user/a").answer
    assert service.asking.ask(OPERATOR, "What is the capital of France?", "user/b").answer == before.answer
    service.edits.undo(OPERATOR, str(made.edit_id))
    after = service.asking.ask(OPERATOR, "What is the capital of France?", "user/a", fingerprint=True)
    assert (after.answer, after.fingerprint) == (before.answer, before.fingerprint)


def test_a_server_that_died_between_journal_and_load_leaves_what_another_one_serves(
    service: EditService, world: Any, tmp_path: Path
) -> None:
    made = service.edits.edit(OPERATOR, lyon(), "user/a", "ft-m")
    layer = service.runtime.spaces.layer("user/a")
    name = service.runtime.engine.prepare(layer).model  # type: ignore[attr-defined]
    world.client.unload(name)  # as if the first one had been killed after its commit, before the load
    settings = service.settings.model_copy(update={"home": tmp_path})
    with closing(open_service(settings)) as second:
        assert second.edits.show(OPERATOR, str(made.edit_id)).live
        assert "Lyon" in second.asking.ask(OPERATOR, "What is the capital of France?", "user/a").answer


class Unlucky(VLLMServer):
    """One that is closed while its supervisor is about to start it again."""

    def variables(self) -> dict[str, str]:
        if self.starts:
            self._closing.wait(60)
        return super().variables()


def test_a_server_that_is_closed_while_it_starts_again_leaves_nothing_running(world: Any, tmp_path: Path) -> None:
    server = Unlucky(weights_path(), tmp_path, tmp_path / "vllm.log", world.server.python)
    server.start()
    end = time.monotonic() + 60
    while server.pid is None and time.monotonic() < end:
        time.sleep(0.05)
    server.kill()
    time.sleep(RESTARTS_S[0] + 0.5)
    first = server.pid
    server.close()
    assert server.starts == 2 and server.pid not in (None, first)
    assert not exists(server.pid or 0)


def test_a_replica_added_serves_the_same_answers(
    world: Any, engine: VLLMEngine, start_vllm: Callable[..., VLLMServer], low_rank: MakeLayer
) -> None:
    layers = [BASE, *(low_rank(400 + i, scale=0.15) for i in range(5))]
    alone = [engine.generate(QUESTION, layer) for layer in layers]
    second = start_vllm(weights_path(), world.store.root)
    with closing(
        VLLMEngine([world.server.url, second.url], world.outline, world.store, world.fingerprints, wait_s=480)
    ) as both:
        end = time.monotonic() + 480
        while not all(r.ready for r in both.replicas.all) and time.monotonic() < end:
            time.sleep(0.5)
        assert [both.generate(QUESTION, layer) for layer in layers] == alone
        used = {both.prepare(low_rank(400 + i, scale=0.15)).base_url for i in range(5)}
        used |= {both.prepare(low_rank(450 + i)).base_url for i in range(8)}
        assert used == {world.server.url, second.url}, "names spread over the replicas"
        first_start = second.pid or 0
        os.kill(first_start, signal.SIGKILL)  # the one goes, the other takes its names over
        assert [both.generate(QUESTION, layer) for layer in layers] == alone
    second.close()
    end = time.monotonic() + 30
    while exists(first_start) and time.monotonic() < end:
        time.sleep(0.1)
    assert not exists(first_start), "what it had started ended with it"


def exists(group: int) -> bool:
    """Whether a process of the group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_vllm_killed_comes_back_and_gives_the_same_answers_and_never_wrong_ones(
    world: Any, engine: VLLMEngine, low_rank: MakeLayer
) -> None:
    if os.environ.get("KETOOLS_TEST_VLLM"):
        pytest.skip("this server is not ours to kill")
    layers = [BASE, *(low_rank(500 + i, scale=0.15) for i in range(4))]
    before = [engine.generate(QUESTION, layer) for layer in layers]
    wrong: list[object] = []
    refused = 0
    done = threading.Event()

    def ask() -> None:
        nonlocal refused
        i = 0
        while not done.is_set():
            i += 1
            try:
                answer = engine.generate(QUESTION, layers[i % len(layers)])
            except EngineUnavailable:
                refused += 1
                time.sleep(0.2)
                continue
            if answer != before[i % len(layers)]:
                wrong.append((i % len(layers), answer))

    thread = threading.Thread(target=ask)
    thread.start()
    starts = world.server.starts
    world.server.kill()
    end = time.monotonic() + 480
    while (world.server.starts == starts or not any(r.ready for r in engine.replicas.all)) and time.monotonic() < end:
        time.sleep(0.5)
    engine.replicas.wait_ready(480)
    after = [engine.generate(QUESTION, layer) for layer in layers]
    done.set()
    thread.join()
    assert world.server.starts > starts
    assert refused and not wrong
    assert after == before
