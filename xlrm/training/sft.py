"""Supervised fine-tuning of a policy on demonstrations, by TRL's SFTTrainer for decoders and transformers' Trainer for
encoder-decoders (TRL has none). Tokens are those of `demonstrations`; the loss is the mean cross-entropy of the tokens of all
responses of a step, with the tokens that end them.

The policy's files carry its instruction (in the chat template, `xlrm.models.instructions`) and the limit on its prompts
(`xlrm.models.prompt_limits`), so that whoever uses it reads prompts as this training does.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from xlrm import progress
from xlrm.errors import ConfigError
from xlrm.evaluation import rouge
from xlrm.models import instructions, loading, prompt_limits, transformers4, transformers_engine, weights
from xlrm.models.cards import BaseModelCard
from xlrm.models.decoding import Decoding
from xlrm.models.packing import model as packing
from xlrm.store.json_file import JsonFile
from xlrm.store.jsonl import read_rows, write_jsonl
from xlrm.training import demonstrations, dropout, finite, heldout, trainers
from xlrm.training.demonstrations import Row
from xlrm.training.recipes import SftTraining
from xlrm.training.trainers import Job

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments

_VALIDATION = "validation.jsonl"
_TOKENIZER = "tokenizer"


class DemonstrationCounts(JsonFile):
    """demonstrations.json of a training: what it was trained on."""

    FILE: ClassVar[str] = "demonstrations.json"
    WRITTEN_BY: ClassVar[str] = "the stage sft writes it"

    demonstrations: int
    """Different demonstrations that were trained on."""
    cut_prompts: int
    """Those whose prompt was longer than max_prompt_length."""
    cut_responses: int
    """Those whose response was longer than max_response_length."""


def train_sft(
    base: Path, rows: Sequence[Row], validation: Sequence[Row], config: SftTraining, output: Path
) -> dict[str, float]:
    """Fine-tunes the model in `base` on demonstrations, rows with prompt, response, subset and language, and writes the policy to
    `output`. `validation`: demonstrations that ROUGE-L is measured on. Returns the metrics, none on nodes other than the first.

    Raises ConfigError for a batch size or limit that is not possible, and DataError or TemplateRefusal for prompts that the
    template does not accept."""
    folder, label = output.parent, f"sft[{config.language}]"
    described = loading.load_config(base)
    if not described.is_encoder_decoder:
        limit = config.max_prompt_length + config.max_response_length
        loading.Context("sft.max_prompt_length", limit, given=True).within(described)
    if config.keep == "best" and not validation:
        raise ConfigError(
            "uses ROUGE-L on demonstrations of split validation, and there are none", where="sft.keep", value="best"
        )
    order = demonstrations.order([demonstrations.group(row) for row in rows], config)
    trainers.check_batch(config, len(order))

    def prepare() -> Path:
        weights.check_finite(base)
        words = tokenizer(base, config)
        words.save_pretrained(folder / _TOKENIZER)
        _tokens(words, rows, order, config, described.is_encoder_decoder, folder).save_to_disk(folder / "tokens")
        write_jsonl(folder / _VALIDATION, validation)
        return base

    metrics = trainers.run_job(f"{__name__}:worker", prepare, folder, config, SftTraining)
    if metrics:
        finite.check_trained(folder / "trained", label, metrics["steps"])
        trainers.copy(folder / "trained", output)
        dropout.restore(output, base)
        if card := BaseModelCard.find(base):
            card.write(output)  # whose licence a reward model of the policy has too
        metrics |= {name: float(count) for name, count in DemonstrationCounts.read(folder).model_dump().items()}
    transformers4.write_older_names(output)
    return metrics


def tokenizer(base: Path, config: SftTraining) -> "PreTrainedTokenizerBase":
    """Tokenizer of the policy: the base's, with the instruction in its chat template and the limit on prompts."""
    words = loading.load_tokenizer(base)
    if loading.load_config(base).is_encoder_decoder and loading.own_tokenizer(base).chat_template is None:
        words.chat_template = instructions.ENCODER
    text = config.instruction and instructions.text(config.instruction, config.language.split("+"))
    words.chat_template = instructions.instructed(words.chat_template, text)
    prompt_limits.write(words, config.max_prompt_length)
    return words


def _tokens(
    words: "PreTrainedTokenizerBase", rows: Sequence[Row], order: list[int], config: SftTraining, encoder_decoder: bool,
    folder: Path,
) -> "Dataset":  # fmt: skip
    """Dataset of all steps in their order; each demonstration is encoded once. Writes and logs the counts."""
    from datasets import Dataset

    used = sorted(set(order))
    encoder = demonstrations.Encoder(words, config, encoder_decoder)
    dataset = Dataset.from_dict(encoder.columns([rows[place] for place in used]))
    counts = encoder.counts
    progress.say(
        f"sft[{config.language}]: {counts.rows} of {len(rows)} demonstrations; {counts.cut_prompts} prompts are longer than "
        f"{config.max_prompt_length} tokens and {counts.cut_responses} responses longer than {config.max_response_length}: "
        "they lose their end"
    )
    DemonstrationCounts(
        demonstrations=counts.rows, cut_prompts=counts.cut_prompts, cut_responses=counts.cut_responses
    ).write(folder)
    places = {place: number for number, place in enumerate(used)}
    return dataset.select([places[place] for place in order])


def worker(folder: Path) -> None:
    """Trains a policy in the prepared `folder`; runs in every process of the training."""
    from datasets import load_from_disk

    job = Job.read(folder)
    config = SftTraining(**job.config)
    label = f"sft[{config.language}]"
    words, dataset = loading.load_tokenizer(folder / _TOKENIZER), load_from_disk(str(folder / "tokens"))
    described = loading.load_config(job.start)
    rows = read_rows(folder / _VALIDATION)
    kind, make = (
        (_arguments_of_trl(), _decoder) if not described.is_encoder_decoder else (_arguments(), _encoder_decoder)
    )
    arguments = trainers.training_arguments(
        kind, config, folder, num_train_epochs=1, train_sampling_strategy="sequential"
    )
    if config.dropout is not None:
        dropout.configured(described, config.dropout, label)
    model = loading.load_language_model(job.start, described)
    trainer = make(model, words, arguments, dataset, label, Validation(str(folder / _TOKENIZER), config, rows))
    trainer.eval_dataset = rows
    if rows and config.validations:
        save = partial(heldout.save_best, trainer, folder) if config.keep == "best" else None
        trainer.add_callback(heldout.scoring(config.validations, save, "eval_rouge_l"))
    trainers.train(trainer, label, folder, job)


def _arguments() -> type["TrainingArguments"]:
    from transformers import TrainingArguments

    return TrainingArguments


def _arguments_of_trl() -> Any:
    from trl import SFTConfig

    return partial(SFTConfig, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})


def _decoder(
    model: "PreTrainedModel", words: "PreTrainedTokenizerBase", arguments: "TrainingArguments", dataset: "Dataset",
    label: str, validation: "Validation",
) -> "Trainer":  # fmt: skip
    from trl import SFTTrainer

    embeddings: Any = model.get_input_embeddings()
    if (words.pad_token_id or 0) >= embeddings.num_embeddings:
        words.pad_token = None  # TRL then pads with EOS, and masks it
    packing.enable(model)
    return finite.checked(validated(SFTTrainer, validation), label)(
        model, args=arguments, train_dataset=dataset, eval_dataset=None, processing_class=words
    )


def _encoder_decoder(
    model: "PreTrainedModel", words: "PreTrainedTokenizerBase", arguments: "TrainingArguments", dataset: "Dataset",
    label: str, validation: "Validation",
) -> "Trainer":  # fmt: skip
    from torch.nn.functional import cross_entropy
    from transformers import DataCollatorForSeq2Seq, Trainer

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        """transformers' loss of T5 is the mean of a forward pass, by which a token counts more in a pass with fewer."""
        total = cross_entropy(outputs.logits.flatten(0, 1).float(), labels.flatten(), reduction="sum")
        return total / ((labels != demonstrations.IGNORED).sum() if num_items_in_batch is None else num_items_in_batch)

    return finite.checked(validated(Trainer, validation), label)(
        model, args=arguments, data_collator=DataCollatorForSeq2Seq(words, model), train_dataset=dataset,
        processing_class=words, compute_loss_func=loss,
    )  # fmt: skip


class Validation(transformers_engine.Transformers):
    """The engine that generates the responses to the prompts for validation, greedily, with the network that is trained."""

    network: Any = None

    def __init__(self, folder: str, config: SftTraining, rows: Sequence[Row]) -> None:
        super().__init__(transformers_engine.Model(folder, own=True), config.device_batch_size)
        self.decoding, self.rows = Decoding(config.max_response_length), list(rows)

    def scores(self, network: Any, first: int, step: int) -> list[tuple[str, float]]:
        """Group and ROUGE-L of each `step`-th row from the `first` on."""
        self.network = network
        self.__dict__["config"] = network.config
        rows = self.rows[first::step]
        kept = network.generation_config
        network.generation_config = transformers_engine.without_options(kept, network.config.is_encoder_decoder)
        try:
            made = self.complete([row["prompt"] for row in rows], 1, self.decoding)
        finally:
            network.generation_config = kept
        return [
            (
                demonstrations.group(row),
                rouge.rouge_l([row["response"]], [written.text.strip()], row["language"])[0],
            )
            for row, (written,) in zip(rows, made, strict=True)
        ]


def macro_average(scores: Sequence[tuple[str, float]]) -> float:
    """Mean over the groups of the mean of each group's scores."""
    by_group: dict[str, list[float]] = {}
    for group, score in scores:
        by_group.setdefault(group, []).append(score)
    return sum(sum(values) / len(values) for values in by_group.values()) / len(by_group)


def validated(trainer: type, validation: Validation) -> type["Trainer"]:
    """Subclass of a trainer whose evaluation is `eval_rouge_l`, the macro-average over subsets and languages of the responses to
    the prompts for validation, which the processes share."""
    from accelerate.utils import gather_object
    from trl.models.utils import unwrap_model_for_generation

    class Validated(trainer):
        def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
            training = self.model.training
            with unwrap_model_for_generation(self.model_wrapped, self.accelerator) as network:
                network.eval()
                own = validation.scores(network, self.accelerator.process_index, self.accelerator.num_processes)
            metrics = {"eval_rouge_l": macro_average(gather_object(own))}
            self.log(metrics)  # in evaluation, else TRL adds the means of the training steps to it
            self.model.train(training)
            self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    return Validated
