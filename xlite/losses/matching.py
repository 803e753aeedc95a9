"""The loss between features: their directions."""

from torch import Tensor
from torch.nn import functional as F

from xlite.losses.distillation import in_full_precision


def feature_direction(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of the angle between projected student and teacher features, mean over the rows: from 0 to 2.

    The direction alignment of Chen et al., arXiv 2210.15274, with one linear projection of the student's features,
    after the hints of FitNets (Romero et al., arXiv 1412.6550).

    Args:
        student: (N, F) float of any precision.
        teacher: (N, F) float; no gradient flows to it.
    """
    return (1 - F.cosine_similarity(*in_full_precision(student, teacher), dim=-1, eps=1e-6)).mean()
