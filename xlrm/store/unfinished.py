"""What a running stage keeps on the store, so that another machine can continue if this one is lost:
{store}/unfinished/{stage}/{key}/..., until its artifact is published."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from xlrm import progress
from xlrm.errors import ArtifactError
from xlrm.store import addresses, objects


def address(output: Path) -> str:
    """URI for the stage with this output folder; `run.runner` names working folders by stage and key."""
    work = output.absolute().parent
    return objects.join(addresses.store(), "unfinished", work.parent.name, work.name)


def remove(output: Path) -> None:
    """Removes what the stage of this output folder kept. The stage has finished, so a store that does not answer is
    not an error."""
    uri = address(output)
    try:
        objects.remove_directory(uri)
    except ArtifactError as error:
        progress.say(f"{uri} cannot be removed: {error}")


class Sender:
    """Sends one thing after the other in the background; a failure is logged and stops nothing."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._sending: Future | None = None

    @property
    def idle(self) -> bool:
        return self._sending is None or self._sending.done()

    def start(self, what: str, action: Callable[[], None]) -> None:
        self.wait()
        self._sending = self._pool.submit(self._send, what, action)

    def wait(self) -> None:
        """Waits until the current sending ends."""
        if self._sending:
            self._sending.result()

    def _send(self, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except ArtifactError as error:
            progress.say(f"{what}: not sent; tried again together with the next: {error}")
