"""A decoder that crashes, hangs or runs out of memory harms one file and nothing else."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from classifier.images import sandbox
from classifier.images.decoding import Limits
from classifier.images.errors import ImageRefused
from classifier.images.sandbox import DecoderUnavailable, Pool, check_isolated
from classifier.images.validation import CheckedImage, check_image
from classifier.tests.images.test_bombs import idat, png
from classifier.tests.images.test_validation import LIMITS, check, encode, picture
from training.engine.data.preprocessing import UnknownPreprocessing

PHOTO = encode(picture(), "JPEG")


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(children=1, seconds=60)
    yield pool
    pool.close()


def ask(pool: Pool, data: bytes = PHOTO, limits: Limits = LIMITS) -> CheckedImage:
    return check_isolated(data, preprocessing="squash32-v1", limits=limits, pool=pool)


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come within 30 s")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_it_answers_as_the_check_in_this_process(pool: Pool) -> None:
    assert ask(pool) == check(PHOTO)
    large = encode(picture(2000, 1500), "PNG")
    assert ask(pool, large) == check(large)


def test_refusals_come_back_with_their_code_and_sentence(pool: Pool) -> None:
    tiny = Limits(max_bytes=LIMITS.max_bytes, max_pixels=100)
    for data, limits in ((b"text", LIMITS), (b"", LIMITS), (PHOTO[:300], LIMITS), (PHOTO, tiny)):
        with pytest.raises(ImageRefused) as there:
            ask(pool, data, limits)
        with pytest.raises(ImageRefused) as here:
            check_image(data, preprocessing="squash32-v1", limits=limits)
        assert there.value.code == here.value.code
        assert str(there.value.detail) == str(here.value.detail)


def test_limits_are_the_sites_unless_given() -> None:
    assert check_isolated(PHOTO, preprocessing="squash32-v1").format == "JPEG"


def test_an_unknown_preprocessing_is_the_callers_error(pool: Pool) -> None:
    with pytest.raises(UnknownPreprocessing):
        check_isolated(PHOTO, preprocessing="none", limits=LIMITS, pool=pool)


def test_one_child_answers_many_files(pool: Pool) -> None:
    ask(pool)
    pids = pool.pids()
    for _ in range(20):
        ask(pool)
    assert pool.pids() == pids and len(pids) == 1


def test_a_child_that_died_between_two_files_is_replaced(pool: Pool) -> None:
    ask(pool)
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGKILL)
    assert ask(pool).format == "JPEG"
    assert pool.pids() != [pid]


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_child_killed_in_mid_decode_is_replaced_and_the_file_answered(
    pool: Pool, signal_number: signal.Signals
) -> None:
    ask(pool)
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGSTOP)  # so that the kill surely comes between question and answer
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, pool)
        time.sleep(0.2)
        assert not answer.done()
        os.kill(pid, signal_number)
        os.kill(pid, signal.SIGCONT)
        assert answer.result(60).format == "JPEG"
    assert pool.pids() != [pid]


def test_a_file_that_kills_every_decoder_is_refused_and_the_next_is_answered(pool: Pool) -> None:
    ask(pool)
    stop = threading.Event()

    def kill_each() -> None:
        while not stop.is_set():
            for pid in pool.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.001)

    os.kill(pool.pids()[0], signal.SIGSTOP)
    killer = threading.Thread(target=kill_each)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, pool)
        time.sleep(0.1)
        killer.start()
        with pytest.raises((ImageRefused, DecoderUnavailable)):
            answer.result(60)
        stop.set()
        killer.join()
    assert ask(pool).format == "JPEG"


def test_a_hanging_child_is_killed_and_the_next_file_answered() -> None:
    pool = Pool(children=1, seconds=1)
    try:
        ask(pool)
        (pid,) = pool.pids()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ImageRefused) as caught:
            ask(pool)
        assert caught.value.code == "not_an_image"
        assert not is_running(pid)
        assert ask(pool).format == "JPEG"
    finally:
        pool.close()


def test_a_child_that_does_not_even_read_is_killed_too() -> None:
    pool = Pool(children=1, seconds=1)
    try:
        ask(pool)
        os.kill(pool.pids()[0], signal.SIGSTOP)
        with pytest.raises(ImageRefused):
            ask(pool, encode(picture(1500, 1500), "BMP"))  # more than the socket holds
        assert ask(pool).format == "JPEG"
    finally:
        pool.close()


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS does not limit a process's address space.")
def test_a_memory_explosion_is_refused_and_the_next_file_answered(pool: Pool) -> None:
    bomb = png(30_000, 30_000, idat(1_000))  # its pixels would take 3.6 GB
    with pytest.raises(ImageRefused) as caught:
        ask(pool, bomb, Limits(max_bytes=LIMITS.max_bytes, max_pixels=1_000_000_000))
    assert caught.value.code == "not_an_image"
    assert ask(pool).format == "JPEG"


def test_many_threads_share_a_few_children() -> None:
    pool = Pool(children=2, seconds=60)
    try:
        sizes = range(20, 60)
        photos = [encode(picture(size, 20), "PNG") for size in sizes]
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda photo: ask(pool, photo), photos))
        assert [answer.width for answer in answers] == list(sizes)
        assert 1 <= len(pool.pids()) <= 2
    finally:
        pool.close()


def test_a_forked_process_starts_children_of_its_own() -> None:
    code = """
import os
from classifier.images import sandbox as decoder
from classifier.images.validation import Limits
photo = __import__("sys").stdin.buffer.read()
def ask(): return decoder.check_isolated(photo, preprocessing="squash32-v1", limits=Limits(10**6, 10**6))
ask()
before = decoder._shared_pool().pids()
if not (pid := os.fork()):
    assert decoder._shared_pool().pids() == []
    ask()
    mine = decoder._shared_pool().pids()
    assert len(mine) == 1 and mine != before
    decoder._close_shared_pool()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
ask()
assert decoder._shared_pool().pids() == before
"""
    subprocess.run([sys.executable, "-c", code], input=PHOTO, check=True)


def test_children_end_with_their_parent_even_when_it_is_killed() -> None:
    code = """
import sys, time
from classifier.images import sandbox as decoder
from classifier.images.validation import Limits
photo = sys.stdin.buffer.read()
decoder.check_isolated(photo, preprocessing="squash32-v1", limits=Limits(10**6, 10**6))
print(*decoder._shared_pool().pids(), flush=True)
time.sleep(600)
"""
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin and parent.stdout
        parent.stdin.write(PHOTO)
        parent.stdin.close()
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    wait_until(lambda: not is_running(pid))


def test_children_end_when_the_parent_exits() -> None:
    code = (
        "import sys; from classifier.images import sandbox as decoder\n"
        "from classifier.images.validation import Limits\n"
        "decoder.check_isolated(sys.stdin.buffer.read(), preprocessing='squash32-v1',"
        " limits=Limits(10**6, 10**6))\n"
        "print(*decoder._shared_pool().pids())"
    )
    done = subprocess.run([sys.executable, "-c", code], input=PHOTO, capture_output=True, check=True)
    assert not is_running(int(done.stdout))
    assert not done.stderr


def test_a_child_gets_no_secrets(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = Path("/proc/self/environ")
    if not environment.exists():
        pytest.skip("This system does not show a process's environment.")
    monkeypatch.setenv("SECRET_KEY", "do-not-tell")
    ask(pool)
    assert b"do-not-tell" not in Path(f"/proc/{pool.pids()[0]}/environ").read_bytes()


def test_a_host_that_cannot_start_a_child_is_not_the_files_fault(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(DecoderUnavailable):
        ask(pool)
    monkeypatch.undo()
    assert ask(pool).format == "JPEG"


def test_a_child_is_replaced_after_many_files(monkeypatch: pytest.MonkeyPatch, pool: Pool) -> None:
    monkeypatch.setattr(sandbox, "FILES_A_CHILD", 3)
    seen = set()
    for _ in range(7):
        ask(pool)
        seen.update(pool.pids())
    assert len(seen) >= 2
