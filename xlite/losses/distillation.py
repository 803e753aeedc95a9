"""Distillation losses: the teacher's softened outputs against the student's, and their sum with the hard loss."""

import torch
from torch import Tensor
from torch.nn import functional as F

from xlite.config import DistillConfig
from xlite.losses.classes import cumulative_logits


def sigmoid_kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """KL(sigmoid(t / T) || sigmoid(s / T)) of each label by itself, mean over rows and labels (L2D, arXiv 2308.06453).

    Not multiplied by T^2: `combine` does that. No hard label enters, so unknown ones count like all others.

    Args:
        student_logits: (N, L) float of any precision.
        teacher_logits: (N, L) float; no gradient flows to it.
        temperature: T > 0.
    """
    return _binary_kl(*_softened(student_logits, teacher_logits, temperature)).mean()


def softmax_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float, real: Tensor | None = None
) -> Tensor:
    """KL(softmax(t / T) || softmax(s / T)) over the last axis, mean over the rest (Hinton et al., arXiv 1503.02531).

    For one-of-n targets only: it is blind to a shift of all logits. Not multiplied by T^2: `combine` does that.

    Args:
        student_logits: (N, ..., K) float of any precision.
        teacher_logits: (N, ..., K) float; no gradient flows to it.
        temperature: T > 0.
        real: (N, ...) bool, what the mean is over; None: everything. See `real_parts`.
    """
    student, teacher = _softened(student_logits, teacher_logits, temperature)
    log_q, log_p = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    return _mean((log_p.exp() * (log_p - log_q)).sum(dim=-1), real)


def cumulative_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float, real: Tensor | None = None
) -> Tensor:
    """`sigmoid_kd` on P(Y > k), for grades in their order (a CORAL student); mean over rows and k.

    Both are softened as classes first, softmax(logits / T), and turned into P(Y > k) then: the teacher may have any
    head, and at every T the loss is 0 exactly where the student says what the teacher says.

    Args:
        student_logits: (N, ..., K) class logits of any precision.
        teacher_logits: (N, ..., K); no gradient flows to it.
        temperature: T > 0.
        real: (N, ...) bool, what the mean is over; None: everything. See `real_parts`.
    """
    student, teacher = _softened(student_logits, teacher_logits, temperature)
    return _mean(_binary_kl(cumulative_logits(student), cumulative_logits(teacher)).mean(dim=-1), real)


def real_parts(teacher_logits: Tensor) -> Tensor | None:
    """Of examples with parts (B, H, K), which parts are there: (B, H) bool; None for examples without, (B, K).

    Models give exactly 0 for all classes of a part that pads an example (`models.lines`); averaged over, such parts
    would make the soft loss smaller the more padding a batch has. A mask, since a GPU would have to be waited for to
    know how many there are.
    """
    return None if teacher_logits.ndim == 2 else (teacher_logits != 0).any(dim=-1)


def combine(
    hard: dict[str, Tensor], soft: Tensor | None, *, config: DistillConfig, focal: Tensor | None = None
) -> dict[str, Tensor]:
    """{"loss": alpha T^2 soft + (1 - alpha) hard + focal_weight focal, and every part, unweighted, by its name}.

    T^2 keeps the soft gradient's size as T grows (Hinton et al., section 2). A part of weight 0 is kept for the log
    but left out of the sum.

    Args:
        hard: "hard", the total of the supervised loss, and its named parts.
        soft: a KD loss as returned here, kept as "soft"; may be None when alpha is 0: no teacher is needed.
        config: alpha, temperature, focal_weight.
        focal: an extra focal term, kept as "kd_focal"; may be None when focal_weight is 0.
    """
    assert soft is not None or config.alpha == 0, f"alpha={config.alpha} needs a teacher's soft loss"
    assert focal is not None or config.focal_weight == 0, f"focal_weight={config.focal_weight} needs a focal loss"
    parts = dict(hard)
    terms = [(1 - config.alpha) * hard["hard"]] if config.alpha < 1 else []
    if soft is not None:
        parts["soft"] = soft
        if config.alpha > 0:
            terms.append(config.alpha * config.temperature**2 * soft)
    if focal is not None:
        parts["kd_focal"] = focal
        if config.focal_weight > 0:
            terms.append(config.focal_weight * focal)
    return {"loss": torch.stack(terms).sum(), **parts}


def _softened(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Both divided by the temperature, in float32 or, where the student is, float64; the teacher detached."""
    dtype = torch.float64 if student_logits.dtype == torch.float64 else torch.float32
    return student_logits.to(dtype) / temperature, teacher_logits.detach().to(dtype) / temperature


def _binary_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(sigmoid(teacher) || sigmoid(student)) of each entry."""
    present = torch.sigmoid(teacher) * (F.logsigmoid(teacher) - F.logsigmoid(student))
    absent = torch.sigmoid(-teacher) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return present + absent


def _mean(rows: Tensor, real: Tensor | None) -> Tensor:
    """Over the real ones; 0 where there are none."""
    return rows.mean() if real is None else torch.where(real, rows, 0).sum() / real.sum().clamp(min=1)
