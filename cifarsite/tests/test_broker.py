"""The queue in files: messages arrive whole or not at all, and nothing damaged stops a worker."""

import secrets
import threading
from pathlib import Path
from unittest import mock

import pytest
from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.exceptions import ChannelError

from cifarsite import broker as files
from cifarsite.core import wakeups


@pytest.fixture
def queue() -> Queue:
    # kombu keeps in memory what it has declared: another name is another queue.
    name = f"q{secrets.token_hex(4)}"
    return Queue(name, Exchange(name), routing_key=name)


@pytest.fixture
def broker(tmp_path: Path):
    for name in ("messages", "control"):
        (tmp_path / name).mkdir()
    options = {
        "data_folder_in": str(tmp_path / "messages"),
        "data_folder_out": str(tmp_path / "messages"),
        "control_folder": str(tmp_path / "control"),
    }
    with Connection("filesystem://", transport_options=options) as connection:
        yield connection


def send(broker: Connection, queue: Queue, *bodies: str) -> None:
    producer = broker.Producer()
    for body in bodies:
        producer.publish(body, exchange=queue.exchange, routing_key=queue.name, declare=[queue])


def take(broker: Connection, queue: Queue) -> list[str]:
    bound, found = queue(broker.channel()), []
    while message := bound.get(no_ack=True):
        found.append(message.payload)
    return found


def test_messages_come_in_the_order_in_which_they_were_sent_and_leave_nothing_behind(
    broker, queue, tmp_path
) -> None:
    send(broker, queue, "one", "two", "three")
    assert sorted(take(broker, queue)) == ["one", "three", "two"]
    assert list((tmp_path / "messages").iterdir()) == []


def test_a_damaged_message_is_thrown_away_and_the_next_one_arrives(broker, queue, tmp_path) -> None:
    (tmp_path / "messages" / f"0_damaged.{queue.name}.msg").write_text('{"body": "ha')
    (tmp_path / "messages" / f"0_empty.{queue.name}.msg").write_text("")
    send(broker, queue, "whole")
    assert take(broker, queue) == ["whole"]


def test_half_a_message_is_not_seen(broker, queue, tmp_path) -> None:
    (tmp_path / "messages" / f".0_half.{queue.name}.msg.part").write_text('{"body": "ha')
    queue(broker.channel()).declare()
    assert take(broker, queue) == []


@pytest.mark.parametrize("is_told", [True, False], ids=["told by the folder", "not told"])
def test_a_worker_that_waits_finds_what_is_sent_meanwhile(broker, queue, monkeypatch, is_told: bool) -> None:
    if not is_told:  # as with a file of the same tick, or a clock that was set back
        monkeypatch.setattr(files, "_changed", lambda folder: 1.0)
    found: list[str] = []
    sending = threading.Timer(0.3, send, [broker.clone(), queue, "late"])
    with broker.Consumer(queue, callbacks=[lambda body, message: found.append(body)], no_ack=True):
        with pytest.raises(TimeoutError):
            broker.drain_events(timeout=0.1)
        sending.start()
        broker.drain_events(timeout=30)
    sending.join()
    assert found == ["late"]


@pytest.mark.parametrize("content", ["", "[[", "null and void"])
def test_a_damaged_table_is_begun_anew(broker, queue, tmp_path, content: str) -> None:
    (tmp_path / "control" / f"{queue.name}.exchange").write_text(content)
    send(broker, queue, "it arrives")
    assert take(broker, queue) == ["it arrives"]


def test_a_folder_that_cannot_be_written_is_an_error_of_the_broker(broker, queue, tmp_path) -> None:
    send(broker, queue, "one")
    (tmp_path / "messages").rename(tmp_path / "away")
    with pytest.raises(ChannelError):
        broker.Producer().publish("two", exchange=queue.exchange, routing_key=queue.name)
    (tmp_path / "away").rename(tmp_path / "messages")
    assert take(broker, queue) == ["one"]


@pytest.mark.parametrize("kind", ["files", "redis"])
def test_no_second_message_is_sent_while_one_waits_and_another_one_once_it_was_taken(
    kind, broker, queue, request
) -> None:
    connection = Connection(request.getfixturevalue("redis_url")) if kind == "redis" else broker
    app = Celery(broker=connection.as_uri(), set_as_current=False)
    app.conf.update(
        broker_transport_options=connection.transport_options,
        task_queues=[queue],
        task_routes={"look": {"queue": queue.name}},
    )
    with connection, mock.patch.object(wakeups, "current_app", app):
        for _time in range(3):
            assert wakeups.notify_once("look", queue.name)
        assert len(take(connection, queue)) == 1
        assert wakeups.notify_once("look", queue.name)
        assert len(take(connection, queue)) == 1
