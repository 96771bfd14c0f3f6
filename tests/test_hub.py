"""The Hub as its client sees it: a server here speaks as much of its protocol as loading one set takes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from refusals import refused
from safetensors.torch import save_file

from xlrm.errors import ArtifactError
from xlrm.store import hub

ROOT = Path(__file__).parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
RECORDS = (ROOT / "tests" / "samples" / "magpie.jsonl").read_bytes()
FILES = {"train.jsonl": RECORDS, "README.md": b"---\nlicense: mit\n---\n"}
JUDGE = {"dpo_model/config.json": b"{}", "dpo_model/model.safetensors": b"weights", "original/model.pth": b"pickle"}


class Hub(BaseHTTPRequestHandler):
    """The set me/mine has two files at one commit, me/gated is behind its licence, the model me/model has the files of MODEL,
    me/judge keeps what counts in a folder, me/uncommitted is a model without commits, and there is nothing else."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.say(200, [entry for entry in self.tree() if entry["path"] in asked.get("paths", ())])

    def do_GET(self) -> None:
        path = self.path.split("?")[0].removeprefix("/api")
        if f"{path}/".removeprefix("/models").startswith("/me/judge/"):
            return self.judge(path)
        if path.startswith("/models/me/uncommitted"):
            return self.say(200, {"id": "me/uncommitted", "siblings": [], "tags": []})
        if path.startswith(("/me/model/", "/models/me/model")):
            return self.model(path.removeprefix("/models"))
        _, kind, owner, name, *rest = f"{path}/".rstrip("/").split("/") + [""] * 3
        rest = [part for part in rest if part]
        if kind != "datasets" or (owner, name) not in (("me", "mine"), ("me", "gated")):
            return self.say(401, {"error": "Repository not found"}, code="RepoNotFound")
        if name == "gated":
            return self.say(401, {"error": "Access is restricted"}, code="GatedRepo")
        if len(rest) > 1 and rest[1] not in ("main", COMMIT):
            return self.say(404, {"error": "Invalid rev id"}, code="RevisionNotFound")
        if rest[:1] == ["resolve"]:
            return self.file("/".join(rest[2:]))
        if rest[:1] == ["tree"]:
            return self.say(200, self.tree())
        siblings = [{"rfilename": name} for name in FILES]
        return self.say(200, {"id": "me/mine", "sha": COMMIT, "private": False, "siblings": siblings, "tags": []})

    def model(self, path: str) -> None:
        kind, revision, *rest = path.split("/")[3:] or ["revision", "main"]
        if revision not in ("main", COMMIT):
            return self.say(404, {"error": "Invalid rev id"}, code="RevisionNotFound")
        if kind == "resolve":
            self.server.sent.append(rest[0])
            return self.say(200, (self.server.model / rest[0]).read_bytes(), ETag=f'"{rest[0]}"')
        files = list(self.server.model.iterdir())
        if kind == "tree":
            tree = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f.name} for f in files]
            return self.say(200, tree)
        siblings = [{"rfilename": file.name} for file in files]
        return self.say(200, {"id": "me/model", "sha": COMMIT, "private": False, "siblings": siblings, "tags": []})

    def judge(self, path: str) -> None:
        if name := path.partition(f"/resolve/{COMMIT}/")[2]:
            return self.say(200, JUDGE[name], ETag=f'"{name}"')
        if "/tree/" in path:
            return self.say(200, [{"type": "file", "path": n, "size": len(d), "oid": n} for n, d in JUDGE.items()])
        siblings = [{"rfilename": name} for name in JUDGE]
        return self.say(200, {"id": "me/judge", "sha": COMMIT, "siblings": siblings, "tags": []})

    def tree(self) -> list[dict]:
        return [{"type": "file", "path": name, "size": len(data), "oid": name} for name, data in FILES.items()]

    def file(self, name: str) -> None:
        if name not in FILES:
            return self.say(404, {"error": "Entry not found"}, code="EntryNotFound")
        return self.say(200, FILES[name], ETag=f'"{name}"')

    def say(self, status: int, body: bytes | dict | list, code: str | None = None, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def load(entry: str, home: Path, **environment: str) -> dict:
    """What `catalog.load_pairs` makes of an entry, in a process of its own: the client reads its address when imported."""
    script = (
        "import json, sys; from xlrm.data import catalog; from xlrm.errors import XlrmError\n"
        "try:\n    found = catalog.load_pairs(sys.argv[1], 'en', 10, 0)\n"
        "    print(json.dumps(found.origin.model_dump(exclude_unset=True) | {'rows': len(found.rows)}))\n"
        "except XlrmError as error:\n    print(json.dumps({'error': str(error)}))"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    result = subprocess.run(
        [sys.executable, "-c", script, entry], cwd=ROOT, env=kept | {"HF_HOME": str(home)} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_a_set_is_loaded_with_the_commit_it_is_of_and_then_without_the_hub(address: str, tmp_path: Path) -> None:
    found = {"rows": 3, "licence": "llama3 (assumed)", "repository": "me/mine", "revision": "main", "commit": COMMIT}
    found["records"] = 3
    assert load("magpie=me/mine", tmp_path, HF_ENDPOINT=address) == found
    assert load("magpie=me/mine", tmp_path, HF_HUB_OFFLINE="1") == found
    other = load(f"magpie=me/mine@{'1' * 40}", tmp_path, HF_HUB_OFFLINE="1")
    assert other["error"].startswith(
        f"me/mine at {'1' * 40}: cannot be downloaded: the cache holds commit {COMMIT}; HF_HUB_"
    )
    pinned = load(f"hub:me/mine@{COMMIT}", tmp_path, HF_ENDPOINT=address)
    assert pinned == {
        "rows": 3,
        "licence": "unknown",
        "repository": "me/mine",
        "revision": COMMIT,
        "commit": COMMIT,
        "records": 3,
    }


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            "hub:me/none",
            "me/none at main: cannot be downloaded: Dataset 'me/none' doesn't exist on the Hub or cannot be accessed; check",
        ),
        (
            "magpie=me/mine@v9",
            "me/mine at v9: cannot be downloaded: Revision 'v9' doesn't exist for dataset 'me/mine' on the Hub; check the",
        ),
        ("wildguard=me/gated", "accept its licence at https://huggingface.co/datasets/me/gated and set HF_TOKEN"),
        ("hub:me/gated", "accept its licence at https://huggingface.co/datasets/me/gated and set HF_TOKEN"),
        (
            "hub:me/mine::test",
            "me/mine at main: cannot be downloaded: Unknown split \"test\". Should be one of ['train']; check the id, the",
        ),
    ],
)
def test_what_cannot_be_had_says_why_and_what_to_do(entry: str, said: str, address: str, tmp_path: Path) -> None:
    error = load(entry, tmp_path, HF_ENDPOINT=address)["error"]
    assert error.startswith("me/") and said in error and "\n" not in error


def test_a_hub_that_is_away_is_said(tmp_path: Path) -> None:
    error = load("hub:me/mine", tmp_path, HF_HUB_OFFLINE="1")["error"]
    assert error.endswith("unset it, or take the set from a folder with a copy, as NAME=FOLDER")


@pytest.fixture
def model_address(tiny_base: Path, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Where me/model is, in shards, and the names of its files that were asked for."""
    from xlrm.models import loading

    loading.load_causal_lm(tiny_base).save_pretrained(tmp_path / "model", max_shard_size="200KB")
    loading.load_tokenizer(tiny_base).save_pretrained(tmp_path / "model")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.model, server.sent = tmp_path / "model", []
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", server.sent
    server.shutdown()


def norms(entry: str, home: Path, address: str) -> dict:
    script = (
        "import json, sys; from xlrm.analysis import embedding_norms; from xlrm.errors import XlrmError\n"
        "try:\n    print(json.dumps(embedding_norms.norms(sys.argv[1], {'en': ['a cat', 'a cat'], 'ko': ['해']}, "
        "embedding_norms.TokenSets())))\n"
        "except XlrmError as error:\n    print(json.dumps({'error': str(error)}))"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    result = subprocess.run(
        [sys.executable, "-c", script, entry], cwd=ROOT, env=kept | {"HF_HOME": str(home), "HF_ENDPOINT": address},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.slow
def test_of_a_model_only_the_weights_with_its_embeddings_are_fetched(model_address, tiny_base, tmp_path) -> None:
    from xlrm.analysis import embedding_norms

    address, sent = model_address
    found = norms(f"me/model@{COMMIT}", tmp_path / "home", address)
    texts = {"en": ["a cat", "a cat"], "ko": ["해"]}
    assert found == embedding_norms.norms(str(tiny_base), texts, embedding_norms.TokenSets()) and found["en"]
    assert {"config.json", "tokenizer.json"} <= set(sent)
    assert len({name for name in sent if name.endswith(".safetensors")}) == 1
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    error = norms("me/model@v9", tmp_path / "home", address)["error"]
    assert error.startswith("me/model@v9: cannot be downloaded: RevisionNotFoundError; ") and "\n" not in error


FETCH = """
import sys
from xlrm.store import hub
from xlrm.errors import XlrmError
try:
    folder = hub.whole_model(sys.argv[1], "main", "dpo_model")
    print(hub.model_version(sys.argv[1], None), folder.name, *sorted(p.name for p in folder.parent.rglob("*") if p.is_file()))
except XlrmError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("me/judge", f"{COMMIT} dpo_model config.json model.safetensors"),
        (
            "me/none",
            "me/none: cannot be downloaded: RepositoryNotFoundError; check the id or the folder, and the network; a gated",
        ),
    ],
)
def test_a_model_comes_without_what_nobody_reads(name: str, said: str, address: str, tmp_path: Path) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    command = [sys.executable, "-c", FETCH, name]
    environment = kept | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip().startswith(said), done.stdout + done.stderr


def test_a_hub_that_names_no_commit_is_an_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    with refused(ArtifactError, "me/uncommitted"):
        hub.model_commit("me/uncommitted", None)
    assert hub.model_commit("me/uncommitted", COMMIT) == COMMIT


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "copy" / "dpo_model").mkdir(parents=True)
    assert hub.whole_model(str(tmp_path / "copy"), None, "dpo_model") == tmp_path / "copy" / "dpo_model"
    assert hub.whole_model(str(tmp_path / "copy" / "dpo_model"), None, "dpo_model") == tmp_path / "copy" / "dpo_model"
    assert hub.whole_model(str(tmp_path), "abc") == tmp_path


FETCH_BASE = """
import sys
from pathlib import Path
from xlrm.tracking import named_models
output = Path(sys.argv[1])
named_models.copy("me/model", "main", output)
print(*sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()))
"""


def test_of_a_download_that_was_killed_nothing_is_left_in_the_base_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    save_file({"a": torch.ones(2)}, tmp_path / "model" / "model.safetensors")
    left = tmp_path / "output" / ".cache" / "huggingface" / "download" / "old.safetensors.0.incomplete"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.model, server.sent = tmp_path / "model", []
    Thread(target=server.serve_forever, daemon=True).start()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment = kept | {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
    command = [sys.executable, "-c", FETCH_BASE, str(tmp_path / "output")]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {"HF_HUB_DISABLE_XET": "1"}, capture_output=True, text=True, check=False
    )
    server.shutdown()
    assert done.stdout.split() == ["config.json", "model.safetensors"], done.stdout + done.stderr
