"""The configuration of one training run: typed, frozen, validated, overridden by dotted keys."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xlite.errors import InputError

Augmentation = Literal["none", "light", "medium", "strong"]
Pretrained = Literal["auto", "yes", "no"]
"""Whether models start from published weights: as defaults and space say, all, or none."""
_MAX_SHOWN = 80  # characters of a value in an error
_DECIMAL = r"-?[0-9]{{1,9}}(\.[0-9]{{1,9}})?"
NUMBERS_OR = rf"^({{}}|{_DECIMAL}(,{_DECIMAL})*)$"
"""Pattern, to be formatted with alternative words, of a text that is one of them or a list of numbers."""


class Section(BaseModel):
    """Base of the sections: frozen, no unknown keys, no implicit conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """Validate nested values, e.g. of a JSON file; `source` names it in errors.

        Raises:
            InputError: an unknown key, a wrong type or a value out of range; the message names key, value and rule.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise InputError(f"{source}: {first_problem(error)}") from None

    def only(self, keys: Iterable[str]) -> Self:
        """A copy with all other keys at their defaults."""
        return type(self)(**{key: getattr(self, key) for key in keys})


class ModelConfig(Section):
    """A student or a teacher: a timm backbone, attention over its last feature map, and a head."""

    architecture: Literal["image", "slices", "lines"] = Field(
        "image", description="image: one image; slices: a stack of slices around a level; lines: the lines of a scan"
    )
    backbone: str = Field("mobilenetv3_small_050", min_length=1, description="any timm model name; unused by lines")
    attention: Literal["none", "mhsa", "performer"] = Field(
        "none", description="block over the last feature map; performer: linear attention"
    )
    attention_heads: int = Field(
        8, ge=1, le=1024, description="attention heads; lowered to the largest divisor of the feature width"
    )
    performer_features: int = Field(64, ge=1, le=16_384, description="performer: random features per head")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout probability")
    pretrained: bool = Field(False, description="start from timm's published weights")
    weights: str | None = Field(None, description="start the backbone from this .safetensors, .pth, .pt or .bin file")
    head: Literal["classes", "coral"] = Field(
        "classes", description="classes: one score per class; coral: cumulative logits, for ordered grades"
    )
    head_bias: str = Field(
        "data",
        pattern=NUMBERS_OR.format("data"),
        description='initial output bias: "data", the base rates, or numbers, e.g. "2.0,-2.5,-3.0"',
    )
    num_slices: int = Field(7, ge=1, le=1024, description="slices: slices in a stack")
    num_levels: int = Field(5, ge=1, le=16_384, description="slices: rows of the level embedding")
    level_dim: int = Field(256, ge=1, le=16_384, description="slices: width of the level embedding")
    layers: int = Field(4, ge=1, le=48, description="lines: encoder blocks")
    width: int = Field(256, ge=8, le=16_384, description="lines: width of the encoder (d_model)")
    ffn_width: int = Field(1024, ge=8, le=65_536, description="lines: hidden width of the feed-forward layers")
    causal: bool = Field(False, description="lines: a line attends to itself and earlier lines only")
    normalise_lines: bool = Field(True, description="lines: standardise each line to mean 0, standard deviation 1")

    @property
    def has_backbone(self) -> bool:
        """Whether it has a timm backbone, which takes any image size; "lines" has weights for each point of a line."""
        return self.architecture != "lines"

    @model_validator(mode="after")
    def _has_one_initialisation(self) -> Self:
        if self.pretrained and self.weights is not None:
            raise ValueError("`model.pretrained` and `model.weights` exclude each other; set one of them")
        return self


class LossConfig(Section):
    """The supervised loss."""

    name: str = Field("bce", min_length=1, description="one of `TargetSpec.losses` of the task's targets")
    weighting: Literal["negatives_positives", "inverse_frequency", "effective_number"] = Field(
        "negatives_positives", description="weighted_bce: how labels are weighted"
    )
    smoothing: float = Field(1.0, ge=0, description="inverse_frequency: 1 / (count + smoothing)^power")
    power: float = Field(0.5, ge=0, description="inverse_frequency: 1 / (count + smoothing)^power")
    beta: float = Field(0.9999, ge=0, lt=1, description="effective_number: (1 - beta) / (1 - beta^count)")
    focal_gamma: float = Field(2.0, ge=0, description="focal: modulation (1 - p)^gamma")
    focal_alpha: float = Field(0.25, gt=0, lt=1, description="focal: weight of positives; negatives get 1 - alpha")
    focal_alpha_per_label: bool = Field(False, description="focal: alpha is each label's share of negatives")
    bce_share: float = Field(0.7, ge=0, le=1, description="bce_focal: weight of BCE; the focal loss gets the rest")
    class_weights: str = Field(
        "none",
        pattern=NUMBERS_OR.format("none|balanced|effective_number"),
        description='exclusive classes: "none", "balanced", "effective_number", or numbers, e.g. "1,2,4"',
    )
    class_gamma: float = Field(0.0, ge=0, description="exclusive classes: focal modulation (1 - p)^gamma")


class DistillConfig(Section):
    """The loss: alpha * temperature^2 * KL + (1 - alpha) * supervised + focal_weight * focal."""

    temperature: float = Field(4.0, gt=0, le=100, description="softens the logits of teacher and student")
    alpha: float = Field(0.0, ge=0, le=1, description="weight of the distillation loss; 0: no teacher")
    focal_weight: float = Field(0.0, ge=0, description="weight of an extra focal loss")

    @property
    def needs_teacher(self) -> bool:
        """Whether the loss reads the teacher's answers."""
        return self.alpha > 0


class DataConfig(Section):
    """The model's inputs."""

    image_size: int = Field(
        64, ge=16, le=2048, description="side of the square images in px; for scan lines, points per line"
    )
    window_lines: int = Field(32, ge=0, le=4096, description="scan lines per example; 0: the whole scan")
    augmentation: Augmentation = Field("medium", description="strength of the random changes to training images")
    sampler: Literal["none", "mean", "max", "unscaled"] = Field(
        "none", description="draw rows in proportion to the mean or maximum of their labels' inverse frequencies"
    )


class OptimConfig(Section):
    """AdamW and the learning-rate schedule."""

    learning_rate: float = Field(1e-3, gt=0, le=1, description="peak learning rate")
    weight_decay: float = Field(1e-5, ge=0, le=1, description="weight decay of matrices and kernels")
    batch_size: int = Field(32, ge=1, le=65_536, description="examples in an optimiser step")
    schedule: Literal["plateau", "cosine", "constant"] = Field(
        "plateau", description="plateau: reduced when validation stops improving; cosine: down to 1% of the peak"
    )
    warmup_epochs: int = Field(0, ge=0, description="epochs of linear warm-up")
    warmup_from: float = Field(0.0, ge=0, le=1, description="learning rate before the first warm-up step")
    freeze_epochs: int = Field(0, ge=0, description="epochs at the start in which the backbone is not trained")
    plateau_patience: int = Field(5, ge=0, description="plateau: epochs without a better validation metric to tolerate")
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="plateau: factor of each reduction")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")


class TrainConfig(Section):
    """Budget, seed and arithmetic."""

    epochs: int = Field(15, ge=1, le=100_000, description="most epochs to train")
    patience: int = Field(10, ge=1, description="epochs without a better validation metric before training stops")
    seed: int = Field(42, ge=0, lt=2**32, description="of initial weights, batches, views and dropout")
    threads: int = Field(1, ge=1, le=65_536, description="CPU threads; they change rounding, and so the result")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 on GPUs that support it, else fp32"
    )
    micro_batches: int = Field(1, ge=1, description="micro-batches a batch is split into, to save memory")
    step: Literal["auto", "plain", "graph"] = Field(
        "auto", description="graph: record the step as a CUDA graph; auto: on a GPU, with plain steps where that fails"
    )

    def is_recorded(self, *, on_gpu: bool) -> bool:
        """Whether steps are recorded; not with micro-batches, which read the random generator's state."""
        return (self.step == "graph" or (self.step == "auto" and on_gpu)) and self.micro_batches == 1


class RunConfig(Section):
    """The whole configuration of a training run."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    distill: DistillConfig = DistillConfig()
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _warmup_and_freezing_end(self) -> Self:
        for key in ("warmup_epochs", "freeze_epochs"):
            value = getattr(self.optim, key)
            if value > 0 and value >= self.train.epochs:
                raise ValueError(
                    f"`optim.{key} < train.epochs` must hold, but got "
                    f"(optim.{key}={value}, train.epochs={self.train.epochs})"
                )
        return self

    @model_validator(mode="after")
    def _coral_loss_has_coral_head(self) -> Self:
        if (self.loss.name == "coral") != (self.model.head == "coral"):
            raise ValueError(
                f"loss.name=coral and model.head=coral go together, but got "
                f"(loss.name={self.loss.name}, model.head={self.model.head})"
            )
        return self

    def override(self, changes: Mapping[str, Any], *, source: str) -> Self:
        """A copy with dotted keys changed, e.g. {"optim.learning_rate": 3e-4}, validated as a whole.

        Raises:
            InputError: as `parse`, or a removed key has another value than the one that is left.
        """
        values = self.model_dump()
        for key, value in changes.items():
            if key in REMOVED_KEYS:
                left = REMOVED_KEYS[key]
                if value != left:
                    raise InputError(
                        f"{source}: {key}={value!r} was taken out, as it showed no gain; only {left!r} is left"
                    )
                continue
            section, _, field = key.partition(".")
            if section not in values or field not in values[section]:
                raise InputError(f"{source}: unknown key {key!r}; {_known_keys(values, section)}")
            values[section][field] = value
        return self.parse(values, source=source)


def shorten_warmup(values: Mapping[str, Any], *, epochs: int) -> dict[str, Any]:
    """`values` (dotted keys) with warm-up and freezing shortened to at most `epochs` - 1."""
    return {
        key: min(value, epochs - 1) if key in ("optim.warmup_epochs", "optim.freeze_epochs") else value
        for key, value in values.items()
    }


def flatten(config: RunConfig) -> dict[str, Any]:
    """All fields by dotted key: {"model.backbone": ..., ...}."""
    return {f"{s}.{f}": value for s, fields in config.model_dump().items() for f, value in fields.items()}


REMOVED_KEYS: Mapping[str, Any] = {
    "distill.loss": "kl",
    "distill.alpha_schedule": "constant",
    "distill.feature_weight": 0.0,
}
"""Keys that are gone, each with the value that is still what happens: this one is passed over wherever it is stored."""
_EARLIER_NAMES = {"train.step": {"auto": "plain"}}  # what hashes hold for a value that has become the default


def identity_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A flat configuration as hashes and comparisons take it: without removed keys, and with later values renamed.

    So what an earlier version began or stored, e.g. a checkpoint or a teacher, keeps its identity. A removed key with
    another value stays: what was trained with it is nothing that can be trained now.
    """
    kept = {key: value for key, value in values.items() if key not in REMOVED_KEYS or value != REMOVED_KEYS[key]}
    return {key: _EARLIER_NAMES.get(key, {}).get(value, value) for key, value in kept.items()}


def is_taught(config: Mapping[str, Any]) -> bool | None:
    """`DistillConfig.needs_teacher` of a flat configuration; None where that does not say, as it may be incomplete."""
    alpha = config.get("distill.alpha")
    return None if alpha is None else bool(alpha)


def model_name(config: Mapping[str, Any]) -> str | None:
    """A model's name in tables: its backbone, or a scan-line encoder's layers and width.

    Args:
        config: flat; may be part of a configuration, e.g. a trial's overrides.
    """
    lines = "model.layers" in config and config.get("model.architecture", "lines") == "lines"
    return f"lines_{config['model.layers']}x{config.get('model.width', '?')}" if lines else config.get("model.backbone")


def parse_assignment(text: str) -> tuple[str, Any]:
    """Key and value of a `--set KEY=VALUE`; VALUE is parsed as JSON if it is JSON, else it is a string.

    Raises:
        InputError: no '=', or no key.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--set {text}: write KEY=VALUE, e.g. --set optim.learning_rate=0.001")
    try:
        return key.strip(), json.loads(value)
    except (ValueError, RecursionError):  # not JSON, a number of thousands of digits, or as many nested brackets
        return key.strip(), value


def _known_keys(values: Mapping[str, Any], section: str) -> str:
    if section in values:
        return f"{section} has " + ", ".join(values[section])
    return "sections are " + ", ".join(values)


def first_problem(error: ValidationError) -> str:
    """One line on the first invalid value: its key, the value cut short, the rule, and the number of further ones."""
    problems = error.errors()
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    value = repr(first["input"])
    shown = value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + "..."
    return f"{key}={shown}: {message}{more}" if key else f"{message}{more}"
