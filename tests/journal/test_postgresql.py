"""PostgreSQL goes away and comes back, breaks connections and refuses: nothing is lost and the next step is told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from ketools.core.errors import Conflict, StorageError, StorageUnavailable
from ketools.journal import EditRecord, Journal, Outcome
from ketools.journal.sessions import SessionWriters

Begin = Callable[..., EditRecord]


pytestmark = pytest.mark.parametrize("place", ["postgresql"], indirect=True)


def command(place: Any, statement: str) -> Any:
    """The superuser's hand on the database."""
    engine = create_engine(make_url(place.where).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        rows = connection.execute(text(statement))
        found = rows.scalars().all() if rows.returns_rows else None
    engine.dispose()
    return found


def live_edit(journal: Journal, record: EditRecord) -> None:
    head = journal.head("global")
    ending = [Outcome(record.id, "committed")]
    journal.commit("global", head.version, (*head.live, record.id), "edit", record.id, ending)


def test_connections_that_the_server_ended_are_replaced_without_a_word(
    place: Any, journal: Journal, begin: Begin
) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ketools'"
    for _ in range(3):
        command(place, kill)
        counter = journal.change_counter()
        command(place, kill)
        record = begin(f"Land{counter}")
        command(place, kill)
        live_edit(journal, record)
    assert len(journal.head("global").live) == 3


def test_while_the_database_is_gone_calls_say_so_and_afterwards_all_goes_on(
    postgresql: Any, journal: Journal, begin: Begin
) -> None:
    first, second = begin("France"), begin("Japan")
    live_edit(journal, first)
    postgresql.stop("immediate")
    try:
        for call in (journal.change_counter, lambda: journal.head("global"), lambda: journal.create_space("user/a")):
            with pytest.raises(StorageUnavailable, match="a server goes on by itself"):
                call()
        with pytest.raises(StorageUnavailable):
            live_edit(journal, second)
        with pytest.raises(StorageUnavailable):
            Journal(journal._db.url.render_as_string(hide_password=False), secret_path=Path("/nowhere/secret"))
    finally:
        postgresql.start()
    assert journal.head("global").live == (first.id,)
    live_edit(journal, second)
    assert journal.head("global").live == (first.id, second.id)


@dataclass
class Proxy:
    """Between a journal and its server: passes bytes on, and can cut the line when a COMMIT passes.

    `lose`: before the server gets it ("request"), or after, so that only the answer is lost ("answer").
    """

    socket_file: str
    lose: str = ""
    answered: bool = False
    server: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        return int(self.server.getsockname()[1])

    def run(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.server.accept()
                upstream = socket.socket(socket.AF_UNIX)
                upstream.connect(self.socket_file)
                for source, target in ((client, upstream), (upstream, client)):
                    threading.Thread(target=self.pump, args=(source, target, source is client), daemon=True).start()

    def close(self) -> None:
        """No way to the server from now on; a close alone would leave the accept that is waiting."""
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()

    def pump(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if from_client and self.lose and b"COMMIT\0" in data:
                    how, self.lose = self.lose, ""
                    if how == "request":
                        break
                    self.answered = True
                if self.answered and not from_client:  # the server has committed; nobody hears of it
                    self.answered = False
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def proxy(postgresql: Any) -> Iterator[Proxy]:
    made = Proxy(str(postgresql.folder / ".s.PGSQL.5432"))
    threading.Thread(target=made.run, daemon=True).start()
    yield made
    made.close()


def through(proxy: Proxy, place: Any) -> Journal:
    url = make_url(place.where).difference_update_query(["host"]).set(host="127.0.0.1", port=proxy.port)
    return Journal(url.render_as_string(hide_password=False), secret_path=place.secret, timeout_s=5)


@pytest.mark.parametrize("lose", ["request", "answer"])
def test_a_commit_whose_connection_breaks_is_done_exactly_once(
    place: Any, journal: Journal, begin: Begin, proxy: Proxy, lose: str
) -> None:
    remote = through(proxy, place)
    record = begin("France")
    proxy.lose = lose
    live_edit(remote, record)
    assert proxy.lose == ""
    assert [version.version for version in journal.history("global")] == [1, 0]
    assert journal.head("global").live == (record.id,)
    remote.close()


def test_a_commit_that_nobody_can_tell_about_is_told_as_such(
    postgresql: Any, place: Any, journal: Journal, begin: Begin, proxy: Proxy
) -> None:
    remote = through(proxy, place)
    remote.create_space("user/alice")  # from here on its connections are open
    record = begin("France")
    proxy.lose = "answer"
    proxy.close()
    with pytest.raises(StorageUnavailable, match=r"may or may not have been written.*list_edits"):
        live_edit(remote, record)
    remote.close()
    assert journal.head("global").live == (record.id,)


def test_a_writer_that_holds_the_journal_for_too_long_is_told(place: Any, journal: Journal) -> None:
    impatient = place.open(timeout_s=0.3)
    release = threading.Event()
    holding = threading.Event()

    def hold(connection: object) -> None:
        holding.set()
        release.wait(30)

    thread = threading.Thread(target=lambda: journal._db.write(hold))
    thread.start()
    assert holding.wait(30)
    with pytest.raises(StorageUnavailable, match="Another server has been writing"):
        impatient.create_space("user/alice")
    assert impatient.head("global").version == 0  # readers are not blocked
    release.set()
    thread.join()
    assert impatient.create_space("user/alice").name == "user/alice"
    impatient.close()


def test_a_read_only_database_still_reads_and_tells_why_it_does_not_write(place: Any, journal: Journal) -> None:
    url = make_url(place.where)
    options = f"{url.query['options']} -cdefault_transaction_read_only=on"
    where = url.update_query_dict({"options": options}).render_as_string(hide_password=False)
    standby = Journal(where, secret_path=place.secret)
    assert [space.name for space in standby.spaces()] == ["global"]
    with pytest.raises(StorageError, match="point the journal's URL at the primary"):
        standby.create_space("user/alice")
    standby.close()


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"username": "stranger"}, "Check user and password"),
        ({"database": "nowhere"}, "createdb"),
        ({"query": {"host": "/nowhere"}}, "a server goes on by itself"),
    ],
)
def test_a_url_that_leads_nowhere_is_told_with_the_next_step(place: Any, change: Any, advice: str) -> None:
    where = make_url(place.where).set(**change).render_as_string(hide_password=False)
    with pytest.raises(StorageError, match=advice):
        Journal(where, secret_path=place.secret)


def test_a_password_in_the_url_is_never_told(place: Any) -> None:
    with pytest.raises(StorageError) as error:
        Journal("postgresql://me:geheim@127.0.0.1:1/x", secret_path=place.secret)
    assert "geheim" not in str(error.value)


def test_a_server_without_the_secret_is_told_to_copy_it(place: Any, journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Put the file back from a backup, or copy it from a server that has it"):
        Journal(place.where, secret_path=tmp_path / "elsewhere")


# --- who lives ---


def test_a_writer_lives_as_long_as_its_session_and_a_dead_one_is_known_on_any_host(
    place: Any, journal: Journal, begin: Begin
) -> None:
    record = begin()
    other = place.open(patience_s=0)
    other._writers.me = "another-host/1/1/00000001"
    assert other.recover() == []
    journal._writers.close()
    assert other.recover() == [record.id]
    with pytest.raises(Conflict, match="failed: interrupted"):
        live_edit(journal, record)
    other.close()


def test_a_restart_of_the_database_does_not_make_the_living_look_dead(
    postgresql: Any, place: Any, journal: Journal, begin: Begin
) -> None:
    begin()
    other = place.open(patience_s=15)
    assert other.recover() == []
    postgresql.stop()
    postgresql.start()
    deadline = time.monotonic() + 60
    while other.recover() == [] and not alive(other, journal):
        assert time.monotonic() < deadline, "the writer did not come back"
        time.sleep(0.2)
    assert other.recover() == []
    other.close()


def alive(observer: Journal, journal: Journal) -> bool:
    """Whether an observer without any patience sees the other one's lock."""
    assert isinstance(observer._writers, SessionWriters)
    patience, observer._writers._patience_s = observer._writers._patience_s, 0.0
    left = bool(observer._db.read(lambda c: observer._writers.look(c)(journal._writers.me, 0.0)))
    observer._writers._patience_s = patience
    return not left
