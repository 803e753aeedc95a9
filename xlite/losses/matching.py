"""Soft losses without a temperature: squared differences and correlation of logits, directions of features."""

import torch
from torch import Tensor
from torch.nn import functional as F

from xlite.losses.classes import cumulative_logits
from xlite.losses.distillation import in_full_precision, masked_mean

MIN_VARIANCE = 1e-8
"""Of a column of logits: a teacher's below this says nothing, and a student's is divided by no less."""


def sigmoid_mse(student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """(s - t)^2 / 8, mean over rows and labels (Kim et al., arXiv 2105.08919, for independent labels).

    1/8 makes it the limit of T^2 `sigmoid_kd` as T grows, so that alpha weighs both alike.

    Args:
        student_logits: (N, L) float of any precision.
        teacher_logits: (N, L) float; no gradient flows to it.
        mask: (N, L) bool, the entries the mean is over; None: all.
    """
    student, teacher = in_full_precision(student_logits, teacher_logits)
    return masked_mean((student - teacher).square() / 8, mask)


def softmax_mse(student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """||s - t||^2 / (2 K), mean over the rest (Kim et al., arXiv 2105.08919).

    1 / (2 K) makes it the limit of T^2 `softmax_kd` as T grows where s and t have equal means over the classes; unlike
    that it sees a shift of all logits.

    Args:
        student_logits: (N, ..., K) float of any precision.
        teacher_logits: (N, ..., K) float; no gradient flows to it.
        mask: (N, ...) bool, the positions the mean is over; None: all.
    """
    student, teacher = in_full_precision(student_logits, teacher_logits)
    return masked_mean((student - teacher).square().mean(dim=-1) / 2, mask)


def cumulative_mse(student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """`sigmoid_mse` of the log-odds of Y > k, for grades in their order (a CORAL student), whose own logits no shift
    can change. Shapes as in `softmax_mse`.
    """
    student, teacher = (cumulative_logits(each) for each in in_full_precision(student_logits, teacher_logits))
    return masked_mean((student - teacher).square().mean(dim=-1) / 8, mask)


def correlation(student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """1 - r, r Pearson's correlation of a label's logits across the batch, mean over the labels.

    DIST's intra-class relation (Huang et al., arXiv 2205.10536) on logits: scale and offset of a label's logits
    do not matter, so it needs neither softmax nor temperature. A label whose teacher's logits do not vary, or that has
    fewer than two entries, is left out; 0 if all are.

    Args:
        student_logits: (N, ..., L) float of any precision; all axes but the last are one batch.
        teacher_logits: (N, ..., L) float; no gradient flows to it.
        mask: (N, ..., L) bool, the entries that are correlated; None: all.
    """
    student, teacher = (each.flatten(0, -2) for each in in_full_precision(student_logits, teacher_logits))
    weights = torch.ones_like(student) if mask is None else mask.flatten(0, -2).to(student.dtype)
    weights = weights / weights.sum(dim=0).clamp(min=1)
    student, teacher = (each - (weights * each).sum(dim=0) for each in (student, teacher))
    ours, theirs = ((weights * each.square()).sum(dim=0) for each in (student, teacher))
    varies = theirs > MIN_VARIANCE
    r = (weights * student * teacher).sum(dim=0) / (
        ours.clamp(min=MIN_VARIANCE) * torch.where(varies, theirs, 1)
    ).sqrt()
    return masked_mean(1 - r, varies)


def class_correlation(student_logits: Tensor, teacher_logits: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """`correlation` for exclusive classes: of logits less their mean over the classes, whose shift has no meaning.

    Args:
        student_logits: (N, ..., K) float of any precision.
        teacher_logits: (N, ..., K) float; no gradient flows to it.
        mask: (N, ...) bool, the positions that are correlated; None: all.
    """
    student, teacher = (each - each.mean(dim=-1, keepdim=True) for each in (student_logits, teacher_logits))
    return correlation(student, teacher, mask=None if mask is None else mask[..., None].expand_as(student))


def feature_direction(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of the angle between projected student and teacher features, mean over the rows: from 0 to 2.

    The direction alignment of Chen et al., arXiv 2210.15274, with one linear projection of the student's features,
    after the hints of FitNets (Romero et al., arXiv 1412.6550).

    Args:
        student: (N, F) float of any precision.
        teacher: (N, F) float; no gradient flows to it.
    """
    return (1 - F.cosine_similarity(*in_full_precision(student, teacher), dim=-1, eps=1e-6)).mean()
