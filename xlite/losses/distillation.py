"""Soft losses by Kullback-Leibler divergence, and the weighted sum of a soft loss with the supervised one."""

import torch
from torch import Tensor
from torch.nn import functional as F

from xlite.config import DistillConfig
from xlite.losses.classes import cumulative_logits


def sigmoid_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """KL(sigmoid(t / T) || sigmoid(s / T)) of each label by itself, mean over rows and labels (L2D, arXiv 2308.06453).

    Not multiplied by T^2: `combine` does that. No hard label enters, so unknown ones count like all others.

    Args:
        student_logits: (N, L) float of any precision.
        teacher_logits: (N, L) float; no gradient flows to it.
        temperature: T > 0.
        mask: (N, L) bool, the entries the mean is over; None: all.
    """
    return _masked_mean(_binary_kl(*_softened(student_logits, teacher_logits, temperature)), mask)


def softmax_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """KL(softmax(t / T) || softmax(s / T)) over the last axis, mean over the rest (Hinton et al., arXiv 1503.02531).

    For one-of-n targets only: it is blind to a shift of all logits. Not multiplied by T^2: `combine` does that.

    Args:
        student_logits: (N, ..., K) float of any precision.
        teacher_logits: (N, ..., K) float; no gradient flows to it.
        temperature: T > 0.
        mask: (N, ...) bool, the positions the mean is over; None: all. See `unpadded`.
    """
    student, teacher = _softened(student_logits, teacher_logits, temperature)
    log_q, log_p = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    return _masked_mean((log_p.exp() * (log_p - log_q)).sum(dim=-1), mask)


def cumulative_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """`sigmoid_kd` on P(Y > k), for grades in their order (a CORAL student); mean over rows and k.

    Both are first softened as classes, softmax(logits / T), then converted to P(Y > k): the teacher may have any head,
    and at every T the loss is 0 exactly where student and teacher agree.

    Args:
        student_logits: (N, ..., K) class logits of any precision.
        teacher_logits: (N, ..., K) float; no gradient flows to it.
        temperature: T > 0.
        mask: (N, ...) bool, the positions the mean is over; None: all. See `unpadded`.
    """
    student, teacher = _softened(student_logits, teacher_logits, temperature)
    return _masked_mean(_binary_kl(cumulative_logits(student), cumulative_logits(teacher)).mean(dim=-1), mask)


def unpadded(teacher_logits: Tensor) -> Tensor | None:
    """Mask (B, H) bool of the positions of sequence logits (B, H, K) that are no padding; None for logits (B, K).

    Models give padded positions logits of exactly 0 (`models.lines`). Averaged over, these would shrink the soft loss
    with the amount of padding in a batch. It is a mask, not an index, because an index would synchronise the GPU.
    """
    return None if teacher_logits.ndim == 2 else (teacher_logits != 0).any(dim=-1)


def without_gaps(teacher_logits: Tensor, mask: Tensor | None = None, *, by_label: bool) -> tuple[Tensor, Tensor]:
    """Teacher logits (N, ..., L) with 0 for NaN, and the mask of what the teacher answers: NaN means no answer.

    Args:
        mask: (N, ...) bool, what else is left out; None: nothing.
        by_label: labels are independent, so the mask is (N, ..., L); else (N, ...), since exclusive classes are one
            answer, which is none if any of them is NaN.
    """
    known = ~torch.isnan(teacher_logits)
    answers = torch.where(known, teacher_logits, 0)
    if not by_label:
        known = known.all(dim=-1)
    return answers, known if mask is None else known & mask


def combine(
    hard: dict[str, Tensor],
    soft: Tensor | None,
    *,
    config: DistillConfig,
    focal: Tensor | None = None,
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
    """Both divided by the temperature, in float64 if the student is, else float32; the teacher detached."""
    dtype = torch.float64 if student_logits.dtype == torch.float64 else torch.float32
    return student_logits.to(dtype) / temperature, teacher_logits.detach().to(dtype) / temperature


def _binary_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(sigmoid(teacher) || sigmoid(student)) of each entry."""
    present = torch.sigmoid(teacher) * (F.logsigmoid(teacher) - F.logsigmoid(student))
    absent = torch.sigmoid(-teacher) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return present + absent


def _masked_mean(losses: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over the masked entries, a scalar; 0 where there are none. None: over all."""
    return losses.mean() if mask is None else torch.where(mask, losses, 0).sum() / mask.sum().clamp(min=1)
