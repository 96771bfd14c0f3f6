"""The queue in front of a served model: what shares a batch, in which order, and what an error or a client that goes does."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from xlrm.serving.batching import Batcher


@dataclass
class Slow:
    """Scores a conversation as its number of tokens, when it is told to."""

    go: threading.Event
    batches: list[list[int]]

    def __call__(self, encoded: list[list[int]]) -> list[float]:
        self.batches.append([len(ids) for ids in encoded])
        assert self.go.wait(10)
        if any(len(ids) == 13 for ids in encoded):
            raise RuntimeError("no memory")
        return [float(len(ids)) for ids in encoded]


def answers(requests: list[list[int]], **how: float) -> tuple[list, list[list[int]], Batcher]:
    """Requests that come while the first is being scored: what each got, and the batches, in numbers of tokens."""
    slow = Slow(threading.Event(), [])

    async def all_of_them() -> tuple[list, Batcher]:
        settings = {"batch_tokens": 10, "batch_conversations": 4, "wait_seconds": 0} | how
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(slow, thread, seen=lambda *_: None, **settings)
            running = asyncio.create_task(batcher.run())
            asked = [asyncio.create_task(batcher.rewards([[0] * size for size in sizes])) for sizes in requests]
            await asyncio.sleep(0.05)
            slow.go.set()
            found = await asyncio.gather(*asked, return_exceptions=True)
            running.cancel()
        return found, batcher

    found, batcher = asyncio.run(all_of_them())
    return found, slow.batches, batcher


def test_batches_keep_to_tokens_and_conversations_and_go_round() -> None:
    found, batches, _ = answers([[3, 3, 3, 3, 3, 3], [2, 2], [12], [1]])
    assert found == [[3.0] * 6, [2.0, 2.0], [12.0], [1.0]], "each gets its own, in order"
    assert all(len(sizes) <= 4 and (sum(sizes) <= 10 or len(sizes) == 1) for sizes in batches), batches
    assert batches[0] == [3, 2] and [12] in batches, "one conversation of each in turn; a long one goes alone"
    assert batches.index([12]) < len(batches) - 1, "short ones do not wait for all of the longest request"


def test_a_batch_waits_for_others_only_so_long() -> None:
    _, together, _ = answers([[1], [1], [1]], wait_seconds=0.02)
    assert together == [[1, 1, 1]]
    _, alone, _ = answers([[1], [1], [1]], batch_conversations=1)
    assert alone == [[1], [1], [1]]


def test_what_nobody_waits_for_any_more_is_not_scored() -> None:
    slow = Slow(threading.Event(), [])

    async def some_go() -> tuple[list, Batcher]:
        with ThreadPoolExecutor(1) as thread:
            batcher = Batcher(slow, thread, 3, 4, 0, seen=lambda *_: None)
            running = asyncio.create_task(batcher.run())
            asked = [
                asyncio.create_task(batcher.rewards([[0] * size for size in sizes])) for sizes in ([3, 1], [2], [1])
            ]
            await asyncio.sleep(0.05)
            for one in asked[:2]:
                one.cancel()
            await asyncio.sleep(0)
            slow.go.set()
            found = await asyncio.gather(*asked, return_exceptions=True)
            running.cancel()
        return found, batcher

    found, batcher = asyncio.run(some_go())
    assert found[2] == [1.0] and slow.batches == [[3], [1]]
    assert (batcher._tokens, len(batcher._waiting)) == (0, 0)


def test_an_error_of_the_model_reaches_its_requests_and_no_others() -> None:
    found, _, batcher = answers([[13, 1, 1], [5]], batch_tokens=5)
    assert isinstance(found[0], RuntimeError) and found[1] == [5.0]
    assert not batcher.failed, "it went on"
    assert answers([[13]])[2].failed
