"""Training of reward models with TRL (Bradley-Terry, pointwise). Only this module imports peft, and only this one, `dpo`,
`online_rl` and `sft`, which train with the functions at its end, import trl.

Each training has a folder. One process prepares it once (`job.json`, `start`, `tokens`); the `*_worker` functions train
in it, in one or many processes (`xlrm.processes.launch`), and write `checkpoints`, to resume from after a kill.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from xlrm import installation, progress
from xlrm.errors import ConfigError
from xlrm.models import loading, prompt_limits, transformers4
from xlrm.models.packing import model as packing
from xlrm.processes import launch
from xlrm.store import unfinished
from xlrm.store.json_file import JsonFile
from xlrm.training import checkpoints, columns, curves, dropout, finite, heldout, reward_heads
from xlrm.training.recipes import ConversationTraining, OfBitsandbytes, RewardTraining, TrainingConfig

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments

Row = dict[str, Any]
_UNCLIPPED = 1e9
"""Gradient norm that is never reached: Adafactor limits its updates itself, and its authors clip no gradients besides. The
norm is still computed, and must be finite."""
_SCHEDULES = {"cosine": "cosine", "constant": "constant_with_warmup"}
"""Names of schedules of the learning rate in transformers."""


class Job(JsonFile):
    """job.json: what the processes of a training share."""

    FILE: ClassVar[str] = "job.json"
    WRITTEN_BY: ClassVar[str] = "a training begins with it"

    start: Path
    """Folder of the model to train."""
    config: dict[str, Any]
    """Fields of the training's config class."""
    unfinished: str
    """URI on the store for checkpoints."""
    run: str | None
    """Id of the MLflow run for the curves."""


def train_reward_model(
    base: Path, rows: list[Row], config: RewardTraining, output: Path, heldout_rows: Sequence[Row] = ()
) -> dict[str, float]:
    """Trains a new reward model, or a `base` that is one, on rows with prompt, chosen and rejected (pointwise also:
    prompt, response and label), and writes it to `output` as safetensors, with adapters merged. Returns the metrics.
    With several nodes, only the first writes the model, and the others return no metrics. `heldout_rows` are evaluated
    during the training and not trained on.

    Texts longer than `max_length` are truncated on the left and counted; TRL's RewardTrainer would drop their pairs.
    Raises DataError for rows without the fields of the loss, ConfigError for a batch size or length that is not
    possible.
    """
    folder = output.parent
    check_length("reward.max_length", config, base)
    check_batch(config, len(rows) * (2 if config.loss == "pointwise" else 1))
    keeps = reward_heads.keeps(base, config)

    def prepare() -> Path:
        tokenizer = loading.reward_tokenizer(base, keeps, config.template == "plain")
        prompt_limits.write(tokenizer, config.max_prompt_length)
        model = loading.new_reward_model(base, tokenizer, config.seed, keeps)
        columns.ordered(tokenizer, rows, config).save_to_disk(folder / "tokens")
        if heldout_rows:
            margin = config.margin and any(row.get("margin") is not None for row in heldout_rows)
            columns.dataset(tokenizer, heldout_rows, config.model_copy(update={"margin": margin})).save_to_disk(
                folder / "heldout"
            )
        model.save_pretrained(folder / "start")
        tokenizer.save_pretrained(folder / "start")
        return folder / "start"

    if config.keep == "best" and not heldout_rows:
        raise ConfigError(
            "uses the loss on held-out pairs, and there are none",
            where="reward.keep",
            value="best",
            hint="see curate.train_share",
        )
    metrics = run_job(f"{__name__}:reward_worker", prepare, folder, config, RewardTraining)
    if metrics:
        finite.check_trained(folder / "trained", f"reward[{config.language}]", metrics["steps"])
    if metrics and config.lora_rank:
        _merge(folder, output)
    elif metrics:
        copy(folder / "trained", output)
        dropout.restore(output, folder / "start")
    transformers4.write_older_names(output)
    return metrics


def reward_worker(folder: Path) -> None:
    """Trains a reward model in the prepared `folder`; runs in every process of the training."""
    from transformers import TrainingArguments
    from trl import RewardConfig, RewardTrainer

    job = Job.read(folder)
    start, config = job.start, RewardTraining(**job.config)
    dataset, tokenizer = _dataset(folder / "tokens"), loading.load_tokenizer(start)
    label = f"reward[{config.language}]"
    ordered = config.similar_lengths or config.shared_beginnings
    order = {"train_sampling_strategy": "sequential" if ordered else "random"}
    sets = {"train_dataset": dataset, "eval_dataset": heldout.dataset(folder)}
    if config.loss == "pointwise":
        arguments = training_arguments(TrainingArguments, config, folder, **order)
        trainer = _pointwise_trainer(start, tokenizer, config, arguments, sets, label)
    else:
        centring = {"center_rewards_coefficient": config.center_rewards_coefficient}
        arguments = training_arguments(
            RewardConfig, config, folder, max_length=None, disable_dropout=config.dropout is None, **order, **centring
        )
        trainer = finite.checked(heldout.by_row(RewardTrainer), label)(
            _trainable(start, config), arguments, processing_class=tokenizer, compute_metrics=heldout.pairs, **sets
        )
    if sets["eval_dataset"]:
        save = partial(heldout.save_best, trainer, folder) if config.keep == "best" else None
        trainer.add_callback(heldout.scoring(config.heldout_scorings, save))
    train(trainer, label, folder, job)


def run_job(
    worker: str, prepare: Callable[[], Path], folder: Path, config: TrainingConfig, kind: type[TrainingConfig]
) -> dict[str, float]:
    """Prepares the folder, unless an earlier run did, and has `worker` ("module:name") train in it with the current config.
    Returns the metrics."""
    _check_installed(config)
    begun = Job.find(folder)
    Job(
        start=begun.start if begun else prepare(),
        config=config.model_dump(include=set(kind.model_fields)),
        unfinished=unfinished.address(folder / "output"),
        run=curves.run_at_work(),
    ).write(folder)
    world = launch.world(config.processes)
    device_batch, passes = launch.split_batch(config.batch_size, config.device_batch_size, world)
    progress.say(f"a batch of {config.batch_size}: {world} process(es) x {device_batch} rows x {passes} pass(es)")
    return launch.launch(worker, folder, config.processes, config.precision, is_sharded(config))


def _write(path: Path, content: Any) -> None:
    """Writes `content` as JSON, completely or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, allow_nan=False))
    partial.replace(path)


def _dataset(path: Path) -> "Dataset":
    from datasets import load_from_disk

    return load_from_disk(str(path))


def needs_bitsandbytes(config: TrainingConfig) -> bool:
    """Whether the training needs bitsandbytes: for its optimizer or for 4-bit weights."""
    return config.optimizer in get_args(OfBitsandbytes) or getattr(config, "quantize", False)


def adafactor(config: dict[str, Any]) -> tuple[type, dict[str, Any]]:
    """Class and options of Adafactor at the rate of a schedule. The Trainer's own would never scale it by the weights."""
    from transformers.optimization import Adafactor

    rate, scaled = config["learning_rate"], config["scale_parameter"]
    return Adafactor, {"lr": rate, "scale_parameter": scaled, "relative_step": False}


def is_sharded(config: TrainingConfig) -> bool:
    """Whether several processes share the weights by ZeRO-3. It gives an optimizer flat pieces of the weights, and Adafactor
    works by rows and columns; its own memory is small, so each process has all weights."""
    return config.optimizer != "adafactor"


def _check_installed(config: TrainingConfig) -> None:
    """Raises ConfigError if a library is missing."""
    needs = {
        "bitsandbytes": needs_bitsandbytes(config),
        "deepspeed": launch.world(config.processes) > 1 and is_sharded(config),
    }
    for library in (name for name, needed in needs.items() if needed):
        try:
            metadata.version(library)
        except metadata.PackageNotFoundError as error:
            field = "processes" if library == "deepspeed" else "optimizer"
            raise ConfigError(
                f"needs {library}, which is not installed",
                where=field, value=getattr(config, field), hint=installation.command("gpu"),
            ) from error  # fmt: skip


def load_policy(folder: Path, config: "PretrainedConfig | None" = None) -> tuple[Any, Any]:
    """Tokenizer and network of a policy to train, which computes without padding where it can. A pad token beyond the
    embeddings is none: TRL then pads with EOS, and masks it. `config`: that of the network, for a training that knows
    encoder-decoders."""
    tokenizer = loading.load_tokenizer(folder)
    model = loading.load_language_model(folder, config) if config else loading.load_causal_lm(folder)
    embeddings: Any = model.get_input_embeddings()
    if (tokenizer.pad_token_id or 0) >= embeddings.num_embeddings:
        tokenizer.pad_token = None
    packing.enable(model)
    return tokenizer, model


def check_decoder(policy: Path) -> None:
    """Raises ConfigError for an encoder-decoder."""
    config = loading.load_config(policy)
    if config.is_encoder_decoder:
        raise ConfigError(
            "TRL's DPO trains decoders alone",
            where=f"{policy / 'config.json'}: model_type", value=config.model_type,
            hint="the stage rl trains encoder-decoders, and best-of-n needs no training",
        )  # fmt: skip


def check_length(field: str, config: ConversationTraining, model: Path) -> None:
    """Raises ConfigError if `max_length` is more than the context of the model in the folder."""
    loading.Context(field, config.max_length, given=True).within(loading.load_config(model))


def check_batch(config: TrainingConfig, rows: int) -> None:
    """Raises ConfigError if the processes cannot share the batch evenly, or it has more rows than there are."""
    launch.split_batch(config.batch_size, config.device_batch_size, launch.world(config.processes))
    if rows < config.batch_size:
        raise ConfigError(
            f"at most the {rows} rows to train on are allowed", where="batch_size", value=config.batch_size
        )


def training_arguments(
    kind: type["TrainingArguments"], config: TrainingConfig, folder: Path, **more: Any
) -> "TrainingArguments":
    """Training arguments for transformers. Creating them joins the processes into one group, which must happen before a
    model is loaded: ZeRO-3 shards it while loading."""
    with launch.together("joining"):
        launch.join()
        return kind(**_common(config, folder) | more)


def _common(config: TrainingConfig, folder: Path) -> dict[str, Any]:
    import torch

    world = launch.world(config.processes)
    device_batch, accumulation = launch.split_batch(config.batch_size, config.device_batch_size, world)
    return dict(  # noqa: C408 - reads as the call it becomes
        output_dir=str(folder / "checkpoints"), learning_rate=config.learning_rate, optim=config.optimizer,
        per_device_train_batch_size=device_batch, gradient_accumulation_steps=accumulation,
        max_grad_norm=_UNCLIPPED if config.optimizer == "adafactor" else 1.0,
        num_train_epochs=config.epochs, lr_scheduler_type=_SCHEDULES[config.scheduler], seed=config.seed,
        warmup_steps=config.warmup if config.warmup_steps is None else config.warmup_steps,
        data_seed=config.seed, bf16=config.precision == "bfloat16", use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=config.gradient_checkpointing, save_steps=config.save_steps,
        save_on_each_node=not is_sharded(config),
        ddp_timeout=launch.PATIENCE_S,
        logging_steps=config.log_steps, logging_first_step=True, report_to=[], disable_tqdm=True,
        logging_nan_inf_filter=False, per_device_eval_batch_size=device_batch,
    )  # fmt: skip


def train(trainer: "Trainer", label: str, folder: Path, job: Job) -> None:
    """Trains, from the newest checkpoint that all nodes have, if any, and saves the model into `trained`."""
    if trainer.args.n_gpu > 1:
        raise ConfigError(
            f"a process of {label} sees {trainer.args.n_gpu} GPUs; it must see only one", where="CUDA_VISIBLE_DEVICES"
        )
    if job.config["optimizer"] == "adafactor":
        trainer.optimizer_cls_and_kwargs = adafactor(job.config)
    trainer.add_callback(progress.training_steps(label))
    trainer.add_callback(checkpoints.keeper(job.unfinished))
    if job.run and trainer.is_world_process_zero():
        trainer.add_callback(curves.to_mlflow(job.run))
    with launch.together("agreeing on a checkpoint"):
        last = checkpoints.agreed(folder / "checkpoints", label, job.unfinished)
        if trainer.is_world_process_zero():
            heldout.copy_best(last or folder / "nothing", folder)
    with launch.together("training"):
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    with launch.together("saving the model"):
        trainer.save_model(str(folder / "trained"))
        if trainer.is_world_process_zero():
            if (folder / heldout.BEST).is_dir():
                shutil.copytree(folder / heldout.BEST, folder / "trained", dirs_exist_ok=True)
            _write_results(trainer, folder)
        trainer.accelerator.wait_for_everyone()
    if trainer.is_local_process_zero() and not trainer.is_world_process_zero():
        _write(folder / launch.METRICS, {})


def _write_results(trainer: "Trainer", folder: Path) -> None:
    """Writes the training curves and the metrics: means over their last tenth, and held-out loss and accuracy."""
    (folder / "trained" / "training_args.bin").unlink()  # a pickle that contains local paths
    curves.write(trainer.state.log_history, folder / "trained" / curves.FILE)
    points = curves.points(trainer.state.log_history)
    trained = [point for point in points if "loss" in point]
    last = trained[-max(1, len(trained) // 10) :]
    known = ("loss", "accuracy", "reward", "kl", "chosen_drift", "rejected_drift")
    names = [name for name in known if all(name in point for point in last)]
    metrics = {f"train_{name}": sum(point[name] for point in last) / len(last) for name in names}
    metrics |= heldout.results(points, (folder / heldout.BEST).is_dir(), trainer.eval_dataset)
    _write(folder / launch.METRICS, metrics | {"steps": float(trainer.state.global_step)})


def _pointwise_trainer(
    start: Path, tokenizer: "PreTrainedTokenizerBase", config: RewardTraining, arguments: "TrainingArguments",
    sets: dict[str, Any], label: str,
) -> "Trainer":  # fmt: skip
    """Trainer with the loss -z log sigmoid(r) - (1 - z) log(1 - sigmoid(r)) for a judgment z (paper B, section 2). The
    paper prints sigmoid(1 - r) in the second term, which could not separate bad responses from good ones."""
    from torch.nn.functional import binary_cross_entropy_with_logits
    from transformers import DataCollatorWithPadding, Trainer
    from trl.trainer.utils import disable_dropout_in_model

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        total = binary_cross_entropy_with_logits(outputs.logits[:, 0], labels.float(), reduction="sum")
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    model = _trainable(start, config)
    if config.dropout is None:
        disable_dropout_in_model(model)
    return finite.checked(heldout.by_row(Trainer), label)(
        model, arguments, DataCollatorWithPadding(tokenizer), processing_class=tokenizer, compute_loss_func=loss,
        compute_metrics=heldout.judgments, **sets,
    )  # fmt: skip


def _trainable(start: Path, config: RewardTraining) -> "PreTrainedModel":
    """Model to train, with adapters if configured. Its head was initialised before, so all processes have the same."""
    import torch
    from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig

    described = loading.load_config(start)
    options: dict[str, Any] = {"dtype": torch.float32} | loading.attention(described)
    if config.dropout is not None or dropout.is_on(
        described
    ):  # T5 and Llama drop attention by no layer that TRL disables
        options["config"] = dropout.configured(described, config.dropout or 0.0, f"reward[{config.language}]")
    if config.quantize:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )  # fmt: skip
    model = AutoModelForSequenceClassification.from_pretrained(
        start, use_safetensors=True, trust_remote_code=False, **options
    )
    packing.enable(model)
    if not config.lora_rank:
        return model
    from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training

    if config.quantize:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=config.gradient_checkpointing)
    head = next(name for name, module in model.named_modules() if module is loading.score_head(model)).split(".")[0]
    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules="all-linear",
        modules_to_save=[head],
    )  # fmt: skip
    return get_peft_model(model, lora, autocast_adapter_dtype=False)


def _merge(folder: Path, output: Path) -> None:
    """Merges the adapters into the original float32 weights, not into the 4-bit copy."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    start, trained = folder / "start", folder / "trained"
    model = AutoModelForSequenceClassification.from_pretrained(start, dtype=torch.float32, use_safetensors=True)
    PeftModel.from_pretrained(model, trained).merge_and_unload().save_pretrained(output)
    loading.load_tokenizer(start).save_pretrained(output)
    shutil.copyfile(trained / curves.FILE, output / curves.FILE)


def copy(trained: Path, output: Path) -> None:
    """Copies the files of the trained model to `output`. `trained` stays whole, so that a killed run does it again."""
    shutil.copytree(trained, output, dirs_exist_ok=True, copy_function=_place)


def _place(file: str, target: str) -> None:
    """Copies a file, or links it where the file system can, if it is weights, which nothing changes afterwards."""
    Path(target).unlink(missing_ok=True)
    if file.endswith(".safetensors"):
        with suppress(OSError):
            os.link(file, target)
            return
    shutil.copyfile(file, target)
