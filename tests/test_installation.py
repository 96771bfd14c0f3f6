"""No sentence of the repository installs this project from the package index by a bare name, where `xlrm` is somebody else's:
those that install it name a clone or the wheel of a release."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from xlrm import __version__, installation
from xlrm.registry import releases

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = r"xlrm(?:[-_.]+pipeline)?"
"""The distribution, or the import name that somebody may take for it."""
PUTS_IN = re.compile(r"""\b(?:pip[\d.]*(?:\s+--?[\w-]+(?:[= ][^\s-]\S*)?)*?\s+(?:install|wheel|download)
    |uv\s+(?:add|tool\s+install)|pipx\s+(?:install|run)|uvx|poetry\s+add)\b([^\n`]*)""", re.VERBOSE)  # fmt: skip
"""What follows a command that installs, to the end of its line or its code."""
NAMED = re.compile(rf"(?<![\w./-]){OURS}(?![\w/-])(?!\.\w)(?!\s*(?:\[[\w,{{}}-]+\])?\s*@\s)", re.IGNORECASE)
"""The project by name, without an address after it."""
WITH_EXTRAS = re.compile(rf"(?<![\w./-]){OURS}\[[a-z{{][\w,{{}}-]*\](?!\s*@\s)", re.IGNORECASE)
WITH_VERSION = re.compile(rf"(?<![\w./-]){OURS}\s*(?:==|>=|<=|~=|!=)\s*\d", re.IGNORECASE)


def from_the_index(text: str) -> list[str]:
    """Places of a text that would fetch this project from the package index."""
    found = [match[0] for match in PUTS_IN.finditer(text) if NAMED.search(re.split(r" #|&&|[;|]", match[1])[0])]
    return [*found, *(match[0] for pattern in (WITH_EXTRAS, WITH_VERSION) for match in pattern.finditer(text))]


def texts() -> dict[str, str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    files = [ROOT / name for name in listed if (ROOT / name).is_file() and ROOT / name != Path(__file__)]
    read = {path: path.read_bytes() for path in files}
    return {str(path.relative_to(ROOT)): text.decode() for path, text in read.items() if b"\0" not in text}


def test_no_text_installs_it_from_the_index() -> None:
    every = texts()
    assert {"README.md", "docker/Dockerfile", "docs/serving.md", "Makefile", "xlrm/cli.py"} < every.keys()
    found = {name: places for name, text in every.items() if (places := from_the_index(text))}
    assert found == {"pyproject.toml": [f"{installation.DISTRIBUTION}[data]"]}, (
        "this one is the project's own, by itself"
    )


@pytest.mark.parametrize(
    "text",
    [
        "pip install xlrm", "pip install 'xlrm[serve]'", "python -m pip install --quiet -U xlrm", "pip3 install torch xlrm",
        ".venv/bin/pip install xlrm-pipeline", "pip install 'xlrm_pipeline[train,serve]'", "uv pip install XLRM",
        "`pip download xlrm`", "hint=\"pip install 'xlrm[gpu]'\"", "f\"pip install 'xlrm[{extra}]'\"", "xlrm==0.1.0",
        "needs xlrm[sample]", "pipx run xlrm score", "uv add xlrm", "RUN pip --no-cache-dir install xlrm", "xlrm >= 0.1",
    ],
)  # fmt: skip
def test_a_text_that_would_is_found(text: str) -> None:
    assert from_the_index(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install '.[serve]'", "pip install -c constraints.txt -e '.[pipeline]' huggingface_hub", "pip install .",
        "pip install 'xlrm_pipeline-0.1.0-py3-none-any.whl[serve]'", "pip install /src/xlrm", "xlrm --version",
        "pip install 'xlrm-pipeline[serve] @ https://example.org/xlrm_pipeline-0.1.0-py3-none-any.whl'",
        "pip install '.[serve]'   # the import is xlrm", "pip install --prefix /package . && xlrm doctor", "xlrm[0]",
        "pip install -e './xlrm[gpu]'", "pip install --target /opt/xlrm numpy",
    ],
)  # fmt: skip
def test_the_forms_that_are_allowed_are_not(text: str) -> None:
    assert from_the_index(text) == []


def test_a_registered_model_does_not_require_it() -> None:
    assert not [name for name in releases.REQUIRED if re.match(OURS, name)]


def test_the_name_of_the_distribution() -> None:
    assert PYPROJECT["name"] == installation.DISTRIBUTION == "xlrm-pipeline"
    assert PYPROJECT["scripts"] == {"xlrm": "xlrm.cli:app"}, "the command's name, and the package's"


# The hint of errors and of the doctor


def installed_from(folder: Path, monkeypatch: pytest.MonkeyPatch, record: dict | None) -> None:
    """The project as pip installs it, as far as its metadata goes."""
    info = folder / f"{installation.DISTRIBUTION.replace('-', '_')}-9.9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {installation.DISTRIBUTION}\nVersion: 9.9.9\n")
    if record is not None:
        (info / "direct_url.json").write_text(json.dumps(record))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "executable", "/opt/env/bin/python")


@pytest.mark.parametrize(
    ("directory", "editable", "words"),
    [
        ("clone", True, "install --editable './clone[serve]'"),
        ("clone", False, "install './clone[serve]'"),
        ("", True, "install --editable '.[serve]'"),
        ("my clone", False, "install './my clone[serve]'"),
    ],
)
def test_the_hint_names_the_clone(directory, editable, words, tmp_path, monkeypatch) -> None:
    (tmp_path / directory).mkdir(exist_ok=True)
    record = {"url": (tmp_path / directory).as_uri(), "dir_info": {"editable": True} if editable else {}}
    installed_from(tmp_path / "site", monkeypatch, record)
    monkeypatch.chdir(tmp_path)
    assert installation.command("serve") == f"/opt/env/bin/python -m pip {words}"
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    assert f"{tmp_path / directory}[serve]" in installation.command("serve"), "from any other folder, too"


def test_the_hint_names_the_wheel(tmp_path, monkeypatch) -> None:
    wheel = tmp_path / "xlrm_pipeline-9.9.9-py3-none-any.whl"
    wheel.write_bytes(b"")
    installed_from(tmp_path / "site", monkeypatch, {"url": wheel.as_uri(), "archive_info": {}})
    monkeypatch.chdir("/")
    assert installation.command("gpu") == f"opt/env/bin/python -m pip install '.{wheel}[gpu]'"
    wheel.unlink()
    assert installation.command("gpu") == "pip install '.[gpu]' in a clone"


def test_the_hint_names_the_address_of_a_wheel(tmp_path, monkeypatch) -> None:
    url = "https://example.org/v9.9.9/xlrm_pipeline-9.9.9-py3-none-any.whl"
    installed_from(tmp_path / "site", monkeypatch, {"url": url, "archive_info": {}})
    assert installation.command("gpu").endswith(f" -m pip install 'xlrm-pipeline[gpu] @ {url}'")


def test_the_hint_where_the_source_is_unknown(tmp_path, monkeypatch) -> None:
    installed_from(tmp_path / "site", monkeypatch, None)
    assert installation.command("gpu") == "pip install '.[gpu]' in a clone"


def test_wheels_that_the_pages_name_are_of_this_version() -> None:
    named = re.findall(
        r"xlrm_pipeline-(\d[\w.]*)-py3-none-any", (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    )
    assert named and set(named) == {__version__}
