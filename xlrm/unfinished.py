"""What a stage at work keeps on the store, for another machine to go on from where this one is lost:
{store}/unfinished/{stage}/{key}/..., until its artifact is published."""

from pathlib import Path

from xlrm import settings, storage


def address(output: Path) -> str:
    """Of a stage with this output folder: `runner` names the folders of a stage's work by stage and key."""
    work = output.absolute().parent
    return storage.join(settings.store(), "unfinished", work.parent.name, work.name)
