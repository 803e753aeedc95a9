"""Distillation losses of softened teacher and student outputs, and their weighted sum with the supervised loss."""

import torch
from torch import Tensor
from torch.nn import functional as F

from xlite.config import DistillConfig
from xlite.losses.classes import cumulative_logits


def sigmoid_kd(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float) -> Tensor:
    """KL(sigmoid(t / T) || sigmoid(s / T)) of each label by itself, mean over rows and labels (L2D, arXiv 2308.06453).

    Not multiplied by T^2: `combine` does that. No hard label enters, so unknown ones count like all others. The mean
    leaves out what the teacher does not answer.

    Args:
        student_logits: (N, L) float of any precision.
        teacher_logits: (N, L) float, NaN where it has no answer; no gradient flows to it.
        temperature: T > 0.
    """
    losses = _binary_kl(*_softened(student_logits, teacher_logits, temperature))
    return _masked_mean(losses, ~teacher_logits.isnan())


def softmax_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """KL(softmax(t / T) || softmax(s / T)) over the last axis, mean over the rest (Hinton et al., arXiv 1503.02531).

    For one-of-n targets only: it is blind to a shift of all logits. Not multiplied by T^2: `combine` does that.

    Args:
        student_logits: (N, ..., K) float of any precision.
        teacher_logits: (N, ..., K) float, NaN where it has no answer; no gradient flows to it.
        temperature: T > 0.
        mask: (N, ...) bool, the positions the mean is over; None: all. See `unpadded`.
    """
    student, teacher = _softened(student_logits, teacher_logits, temperature)
    log_q, log_p = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    return _masked_mean((log_p.exp() * (log_p - log_q)).sum(dim=-1), _answered(teacher_logits, mask))


def cumulative_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """`sigmoid_kd` on P(Y > k), for grades in their order (a CORAL student); mean over rows and k.

    Both are first softened as classes, softmax(logits / T), then converted to P(Y > k): the teacher may have any head,
    and at every T the loss is 0 exactly where student and teacher agree.

    Args:
        student_logits: (N, ..., K) class logits of any precision.
        teacher_logits: (N, ..., K) float, NaN where it has no answer; no gradient flows to it.
        temperature: T > 0.
        mask: (N, ...) bool, the positions the mean is over; None: all. See `unpadded`.
    """
    student, teacher = _softened(student_logits, teacher_logits, temperature)
    losses = _binary_kl(cumulative_logits(student), cumulative_logits(teacher)).mean(dim=-1)
    return _masked_mean(losses, _answered(teacher_logits, mask))


def unpadded(teacher_logits: Tensor) -> Tensor | None:
    """Mask (B, H) bool of the positions of sequence logits (B, H, K) that are no padding; None for logits (B, K).

    Models give padded positions logits of exactly 0 (`models.lines`). Averaged over, these would shrink the soft loss
    with the amount of padding in a batch. It is a mask, not an index, because an index would synchronise the GPU.
    """
    return None if teacher_logits.ndim == 2 else (teacher_logits != 0).any(dim=-1)


def combine(
    hard: dict[str, Tensor], soft: Tensor | None, *, config: DistillConfig, focal: Tensor | None = None
) -> dict[str, Tensor]:
    """{"loss": alpha T^2 soft + (1 - alpha) hard + focal_weight focal, and every term, unweighted, by name}.

    T^2 keeps the soft gradient's size as T grows (Hinton et al., section 2). A term of weight 0 is returned for the log
    but left out of the sum.

    Args:
        hard: "hard", the supervised loss, and its own named terms.
        soft: one of the KD losses above, returned as "soft"; may be None when alpha is 0.
        config: alpha, temperature, focal_weight.
        focal: an extra focal loss, returned as "kd_focal"; may be None when focal_weight is 0.
    """
    assert soft is not None or config.alpha == 0, f"alpha={config.alpha} needs a teacher's soft loss"
    assert focal is not None or config.focal_weight == 0, f"focal_weight={config.focal_weight} needs a focal loss"
    terms = dict(hard)
    weighted = [(1 - config.alpha) * hard["hard"]] if config.alpha < 1 else []
    if soft is not None:
        terms["soft"] = soft
        if config.alpha > 0:
            weighted.append(config.alpha * config.temperature**2 * soft)
    if focal is not None:
        terms["kd_focal"] = focal
        if config.focal_weight > 0:
            weighted.append(config.focal_weight * focal)
    return {"loss": torch.stack(weighted).sum(), **terms}


def _softened(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Both divided by the temperature, in float64 if the student is, else float32; the teacher detached.

    NaN, where the teacher has no answer, becomes 0: a mask hides the value of a NaN, but not its gradient.
    """
    dtype = torch.float64 if student_logits.dtype == torch.float64 else torch.float32
    teacher = torch.where(teacher_logits.isnan(), 0, teacher_logits).detach().to(dtype)
    return student_logits.to(dtype) / temperature, teacher / temperature


def _answered(teacher_logits: Tensor, mask: Tensor | None) -> Tensor:
    """`mask` (N, ...) without the positions that the teacher does not answer; None masks nothing."""
    known = ~teacher_logits.isnan().any(dim=-1)
    return known if mask is None else mask & known


def _binary_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(sigmoid(teacher) || sigmoid(student)) of each entry."""
    present = torch.sigmoid(teacher) * (F.logsigmoid(teacher) - F.logsigmoid(student))
    absent = torch.sigmoid(-teacher) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return present + absent


def _masked_mean(losses: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the masked positions; 0 where there are none."""
    return losses.mean() if mask is None else torch.where(mask, losses, 0).sum() / mask.sum().clamp(min=1)
