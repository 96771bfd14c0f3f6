"""Fixtures: a tiny base model made here, local state in a folder of its own, and a real S3 server."""

import os
import shutil
from pathlib import Path

import pytest
from swift_server import moved, s3, s3_server, s3_store, store  # noqa: F401

os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads of one test do not hold up the others
SHARED_DATA = Path(os.environ.get("XLRM_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
REAL_MODELS = ("gemma-3-270m", "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct")
"""Folders of small pretrained models: of Google's base model and of two chat models, the last of which knows English alone."""


ADDRESSES = (
    "XLRM_HOME",
    "XLRM_STORE",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "XLRM_PARENT_RUN",
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables made, which takes seconds, and nothing in it."""
    from xlrm.tracking import mlflow_client

    with pytest.MonkeyPatch.context() as patch:
        for name in ADDRESSES:
            patch.delenv(name, raising=False)
        patch.setenv("XLRM_HOME", str(tmp_path_factory.mktemp("database")))
        assert list(mlflow_client.client().search_registered_models()) == []
        return Path(os.environ["XLRM_HOME"]) / "mlflow.db"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Local state for one test, and no addresses from outside."""
    folder = tmp_path_factory.mktemp("home")
    for name in ADDRESSES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XLRM_HOME", str(folder))
    shutil.copyfile(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of two layers, pretrained for seconds: right in form, not in what it says."""
    from xlrm.training.pretraining import Pretraining, pretrain

    output = tmp_path_factory.mktemp("base") / "output"
    config = Pretraining(
        languages=("en", "ko"),
        layers=2,
        width=64,
        vocabulary=1024,
        documents=300,
        batch_tokens=2048,
    )
    pretrain(config, output)
    return output


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real preference data, where it is at hand; continuous integration insists on it."""
    if not SHARED_DATA.is_dir():
        if os.environ.get("XLRM_REQUIRE_SHARED_DATA"):
            pytest.fail(f"no real data in {SHARED_DATA}; set XLRM_SHARED_DATA")
        pytest.skip(f"no real data in {SHARED_DATA}; set XLRM_SHARED_DATA to use some")
    return SHARED_DATA


@pytest.fixture(scope="session")
def real_models() -> Path:
    """Folder that holds those of REAL_MODELS, where they are at hand; continuous integration insists on it."""
    folder = Path(os.environ.get("XLRM_REAL_MODELS", "none"))
    missing = [name for name in REAL_MODELS if not (folder / name / "config.json").is_file()]
    if missing and os.environ.get("XLRM_REQUIRE_REAL_MODELS"):
        pytest.fail(f"no models {', '.join(missing)} in {folder}; set XLRM_REAL_MODELS")
    if missing:
        pytest.skip(f"no models {', '.join(missing)} in {folder}; set XLRM_REAL_MODELS to use some")
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict[str, float], str]:
    """A report with every part: inputs, metrics and page. The files lie in the folder `output` beside the inputs."""
    from report_inputs import inputs, run

    folder = tmp_path_factory.mktemp("report")
    given = inputs(folder)
    return given, *run(given, folder / "output")
