"""Works on the pieces of a table in two threads, since Polars, Arrow and NumPy release the interpreter's lock."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = 2
PIECE = 1_000_000  # values of an array in one piece

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(work: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
    """Yields the results of `work` in the order of its inputs; at most THREADS of them are made in advance."""
    with ThreadPoolExecutor(THREADS) as threads:
        made: deque[Future[Made]] = deque()
        try:
            for one in given:
                made.append(threads.submit(work, one))
                if len(made) > THREADS:
                    yield made.popleft().result()
            while made:
                yield made.popleft().result()
        finally:
            for waiting in made:
                waiting.cancel()


def by_pieces(work: Callable[[slice], None], count: int) -> None:
    """Calls `work` with the places of each piece of an array, in threads."""
    for _ in ahead(work, (slice(start, start + PIECE) for start in range(0, count, PIECE))):
        pass
