"""The configuration of one training run: typed, frozen, checked when it is made, changed by dotted keys."""

import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from xlite.errors import InputError

Augmentation = Literal["none", "light", "medium", "strong"]


class Section(BaseModel):
    """Base of every section: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelConfig(Section):
    """A student or a teacher: timm backbone, attention over its last feature map, head."""

    backbone: str = Field("mobilenetv3_small_050", min_length=1, description="any timm model name")
    attention: Literal["none", "mhsa", "performer"] = "none"
    attention_heads: int = Field(8, ge=1, description="lowered to the largest divisor of the feature width")
    performer_features: int = Field(64, ge=1, description="random features per head")
    dropout: float = Field(0.1, ge=0, lt=1)
    pretrained: bool = Field(False, description="start from timm's published weights")
    weights: str | None = Field(None, description="start the backbone from this .safetensors file instead")

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.pretrained and self.weights is not None:
            raise ValueError("`model.pretrained` and `model.weights` exclude each other; set one of them")
        return self


class LossConfig(Section):
    """The supervised part of the loss."""

    name: Literal["bce", "weighted_bce", "focal", "bce_focal"] = "bce"
    weighting: Literal["negatives_positives", "inverse_frequency", "effective_number"] = Field(
        "negatives_positives", description="label weights of weighted_bce"
    )
    smoothing: float = Field(1.0, ge=0, description="inverse_frequency: 1 / (count + smoothing)^power")
    power: float = Field(0.5, ge=0, description="inverse_frequency: 1 / (count + smoothing)^power")
    beta: float = Field(0.9999, ge=0, lt=1, description="effective_number: (1 - beta) / (1 - beta^count)")
    focal_gamma: float = Field(2.0, ge=0)
    focal_alpha: float = Field(0.25, gt=0, lt=1, description="weight of the positives, 1 - alpha of the negatives")
    focal_alpha_per_label: bool = Field(False, description="alpha from each label's share of negatives instead")
    bce_share: float = Field(0.7, ge=0, le=1, description="bce_focal: this share of BCE, the rest focal")


class DistillConfig(Section):
    """alpha * temperature^2 * KL(soft) + (1 - alpha) * hard + focal_weight * focal."""

    temperature: float = Field(4.0, gt=0, le=100)
    alpha: float = Field(0.0, ge=0, le=1, description="0 trains without a teacher")
    focal_weight: float = Field(0.0, ge=0)


class DataConfig(Section):
    """What the model sees."""

    image_size: int = Field(64, ge=16, le=2048, description="px, square")
    augmentation: Augmentation = "medium"
    sampler: Literal["none", "mean", "max", "unscaled"] = Field(
        "none", description="rows drawn in proportion to the mean or maximum of their labels' inverse frequencies"
    )


class OptimConfig(Section):
    """AdamW and its schedule."""

    learning_rate: float = Field(1e-3, gt=0, le=1)
    weight_decay: float = Field(1e-5, ge=0, le=1)
    batch_size: int = Field(32, ge=1)
    schedule: Literal["plateau", "cosine", "constant"] = "plateau"
    warmup_epochs: int = Field(0, ge=0)
    plateau_patience: int = Field(5, ge=0)
    plateau_factor: float = Field(0.5, gt=0, lt=1)
    clip_norm: float = Field(1.0, gt=0)


class TrainConfig(Section):
    """How long, with what seed and arithmetic."""

    epochs: int = Field(15, ge=1)
    patience: int = Field(10, ge=1, description="epochs without a better validation metric before training stops")
    seed: int = Field(42, ge=0, lt=2**32)
    threads: int = Field(1, ge=1, description="CPU threads; part of the result, since they change sums")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the GPU has it")


class RunConfig(Section):
    """Everything one training run needs to know."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    distill: DistillConfig = DistillConfig()
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.optim.warmup_epochs >= self.train.epochs and self.optim.warmup_epochs > 0:
            raise ValueError(
                f"`optim.warmup_epochs < train.epochs` must hold, but got "
                f"(optim.warmup_epochs={self.optim.warmup_epochs}, train.epochs={self.train.epochs})"
            )
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """Build from nested values, e.g. a JSON file; `source` names it in the error.

        Raises:
            InputError: an unknown key, a wrong type or a value out of range; the line names key, value and rule.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise InputError(f"{source}: {_first_problem(error)}") from None

    def override(self, changes: Mapping[str, Any], *, source: str) -> Self:
        """A copy with dotted keys changed, e.g. {"optim.learning_rate": 3e-4}; checked as a whole.

        Raises:
            InputError: as `parse`.
        """
        values = self.model_dump()
        for key, value in changes.items():
            section, _, field = key.partition(".")
            if section not in values or field not in values[section]:
                raise InputError(f"{source}: unknown key {key!r}; {_known_keys(values, section)}")
            values[section][field] = value
        return self.parse(values, source=source)


def flatten(config: RunConfig) -> dict[str, Any]:
    """{"model.backbone": ..., ...} of every field."""
    return {f"{s}.{f}": value for s, fields in config.model_dump().items() for f, value in fields.items()}


def parse_assignment(text: str) -> tuple[str, Any]:
    """KEY=VALUE of `--set`; VALUE is read as JSON where it is JSON, else as a string.

    Raises:
        InputError: there is no '='.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--set {text}: write KEY=VALUE, e.g. --set optim.learning_rate=0.001")
    try:
        return key.strip(), json.loads(value)
    except json.JSONDecodeError:
        return key.strip(), value


def _known_keys(values: Mapping[str, Any], section: str) -> str:
    if section in values:
        return f"{section} has " + ", ".join(values[section])
    return "sections are " + ", ".join(values)


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{key}={first['input']!r}: {message}{more}" if key else f"{message}{more}"
