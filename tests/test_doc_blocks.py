"""Every fenced block of README and docs runs as printed, in the order of its page, in a clone where the demo is finished;
or it says why not, and its commands, fields and files exist."""

import fcntl
import gzip
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from doc_blocks import LANGUAGES, REASONS, ROOT, Block, blocks, check, check_shell, commands

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = {page.relative_to(ROOT).as_posix(): blocks(page) for page in PAGES}
EVERY = [block for found in BLOCKS.values() for block in found]
RUNNABLE = ("sh", "python")
RUN = [page for page, found in BLOCKS.items() if any(one.language in RUNNABLE and not one.reason for one in found)]
PAIRS = [
    {"prompt": f"Where does {name} live?", "chosen": f"{name} lives in {right}.", "rejected": f"{name} lives in {wrong}."}
    for right, wrong in (("the house", "the garden"), ("Seoul", "the sea"), ("the forest", "a car"), ("the water", "the air"))
    for name in ("the dog", "the cat", "the duck", "the horse", "the mouse", "the elephant", "Mei", "Deniz")
]  # fmt: skip
FILES = {
    "mine.jsonl": [row | {"prompt": f"{row['prompt']} Answer in a full sentence."} for row in PAIRS],
    "my_pairs.jsonl": PAIRS, "in.jsonl": [{"prompt": "Hello.", "response": "Good morning."}],
}  # fmt: skip
"""Files of rows of a reader, by the names that the pages give them."""
TEXTS = {
    "answers.csv": "question,answer\r\nWie heißt du?,Ich heiße Mei.\r\n".encode("latin-1"),
    "pairs.csv": "\n".join(
        ["question,better,worse", *(",".join(row.values()) for row in FILES["mine.jsonl"])]
    ).encode(),
    "in.jsonl.gz": gzip.compress(json.dumps(FILES["in.jsonl"][0]).encode()),
}
"""Files in other formats."""
SECONDS = 600
"""For all blocks of a page."""


def test_a_page_with_fences_has_blocks() -> None:
    for page in PAGES:
        fences = re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(BLOCKS[page.relative_to(ROOT).as_posix()]), page


@pytest.mark.parametrize("block", EVERY, ids=lambda block: block.where)
def test_a_block_is_well_formed(block: Block) -> None:
    assert block.language in LANGUAGES and block.reason in (None, *REASONS)
    if block.language == "sh":
        parsed = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
        assert parsed.returncode == 0, parsed.stderr
    check(block)


def test_few_blocks_are_not_run() -> None:
    given = [block for block in EVERY if block.language in RUNNABLE]
    assert {"README.md", "docs/serving.md", "docs/registry.md", "docs/scoring.md"} <= set(RUN)
    assert len([block for block in given if block.reason]) <= 0.6 * len(given)


@pytest.mark.parametrize(
    "text",
    [
        "xlrm scor --model x", "xlrm score --modell x --input a --output b", "make demoo", "pip install '.[servee]'",
        "python -m pipelines submit configs/none.yaml", "python -m pipelines run configs/demo.yaml reward.learning=1",
        "kubectl apply -k k8s/overlays/none", "xlrm stage rewards language=en", "xlrm stage reward langage=en",
        "xlrm serve x wait_seconds=1", "for i in 1 2; do xlrm scor; done", "URI=$(xlrm stage curat)", "xlrm models && make no",
        "A=1 xlrm \\\n  scor", "xlrm score --model x --input a",
    ],
)  # fmt: skip
def test_a_command_that_cannot_run_is_found(text: str) -> None:
    with pytest.raises(AssertionError):
        check_shell(text)


def test_commands_of_a_block() -> None:
    text = "A=1 one 'two\nthree' > out # no\ncat <<'X' | four \\\n five\nsix\nX\nseven & eight && nine; for x in a; do ten; done"
    found = list(commands(text))
    assert [words[0] for words in found] == ["A=1", "cat", "four", "seven", "eight", "nine", "for", "do", "done"]
    assert found[0][1:3] == ["one", "two\nthree"] and found[2] == ["four", "five"]


# What a reader has


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a finished demo, and beside it the folder of its model; made once for all processes of the tests."""
    here = tmp_path_factory.getbasetemp()
    folder = (here.parent if "PYTEST_XDIST_WORKER" in os.environ else here) / "demo-finished"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "my-model").is_dir():
            command = [sys.executable, str(ROOT / "tests" / "demo_home.py"), str(folder)]
            done = subprocess.run(command, env=surroundings(folder), capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
    return folder


def surroundings(home: Path) -> dict[str, str]:
    """The environment of a shell where nothing is set, but for what makes this tree the installed one."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "OMP_NUM_THREADS", "OMP_WAIT_POLICY") if key in os.environ}
    return kept | {"HOME": str(home), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "no_proxy": "localhost"}


@pytest.fixture
def clone(finished: Path, tmp_path: Path) -> Path:
    """A folder like the repository's after `make demo`."""
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name != "build":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    shutil.copytree(finished / ".xlrm", tmp_path / ".xlrm")
    return tmp_path


def addresses(clone: Path) -> dict[str, str]:
    """The variables of the pages: URIs of artifacts that the demo made."""
    store = clone / ".xlrm" / "store"
    names = {
        json.loads(file.read_text())["config"].get("language", ""): file.parent
        for file in store.glob("evaluate/*/artifact.json")
    }
    made = {stage: f"{next(store.glob(f'{stage}/*/artifact.json')).parent.as_uri()}" for stage in ("validate", "base")}
    evaluations = {f"EVALUATION_{code.upper()}": folder.as_uri() for code, folder in names.items()}
    return {"CORPORA": made["validate"], "BASE": made["base"]} | evaluations


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def script(page: str) -> str:
    """The page's blocks one after the other, as in one terminal; only the port is one that is free here."""
    parts = []
    for block in BLOCKS[page]:
        if block.language in RUNNABLE and not block.reason:
            code = block.text if block.language == "sh" else f"python - <<'PYTHON'\n{block.text}PYTHON\n"
            parts.append(f"echo '── {block.where}' >&2\n{code}")
    return re.sub(r"(localhost:|--port )8000\b", rf"\g<1>{free_port()}", "\n".join(parts))


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_a_page_runs_as_printed(page: str, clone: Path, finished: Path) -> None:
    text, environment = script(page), surroundings(clone) | addresses(clone)
    if page != "README.md":  # whose commands name the environment; the other pages are read with it activated
        environment["PATH"] = activated(clone)
    if " pull " not in text:
        shutil.copytree(finished / "my-model", clone / "my-model")
    for name, rows in FILES.items():
        (clone / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, content in TEXTS.items():
        (clone / name).write_bytes(content)
    run(text, clone, environment)


@pytest.mark.slow
def test_the_card_of_a_model_runs_as_printed(clone: Path, finished: Path) -> None:
    shutil.copytree(finished / "my-model", clone / "my-model")
    card = (clone / "my-model" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    lines = [line.replace("FOLDER", "my-model") for line in re.findall(r"`(xlrm [^`]+)`", card)]
    assert [line.split()[1] for line in lines] == ["score", "evaluate"]
    for name, rows in (("responses.jsonl", FILES["in.jsonl"]), ("pairs.jsonl", PAIRS)):
        (clone / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = "\n".join([*lines, f"cd my-model\npython - <<'PYTHON'\n{code}print('reward', float(reward))\nPYTHON"])
    said = run(text, clone, surroundings(clone) | {"PATH": activated(clone)})
    (row,) = [json.loads(line) for line in (clone / "rewards.jsonl").read_text().splitlines()]
    assert math.isfinite(row["reward"]) and math.isfinite(float(said.rsplit("reward ", 1)[1]))


def activated(clone: Path) -> str:
    return f"{clone / '.venv/bin'}:{os.environ['PATH']}"


def run(text: str, folder: Path, environment: dict[str, str]) -> str:
    """Runs a script as one terminal would, and returns what it said. Nothing may fail, and nothing keep running."""
    log = folder / "blocks.log"
    with log.open("wb") as written:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=written, stderr=written, start_new_session=True,
        )  # fmt: skip
        try:
            status = shell.wait(SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        left = ended(shell.pid)
    said = log.read_text(errors="replace")
    assert status == 0, said[-4000:]
    assert not left, f"processes are left running: {left}"
    return said


def ended(group: int) -> list[str]:
    """Waits for what is left of the processes of a group, which a block may have asked to end, and ends it where it
    stays; the command lines of these."""
    for _ in range(100):
        if not (left := running(group)):
            return []
        time.sleep(0.2)
    os.killpg(group, signal.SIGKILL)
    return left


def running(group: int) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state != "Z":
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return found
