"""What a student's kernels channels last, and `quicken`, are worth in a training step on a CPU.

    python benchmarks/layout.py                  # 64 px, batch 16, one thread
    python benchmarks/layout.py --px 224

Steps of three forms of the same model take turns; medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from xlite.config import ModelConfig
from xlite.models.build import build_model
from xlite.models.matmul_convolutions import use_matmul_convolutions

BACKBONES = ("mobilenetv3_small_050", "lcnet_050", "mobilenetv3_large_100", "efficientnet_b0", "resnet10t")
FORMS = ("contiguous", "channels last", "quickened")


def make_step(backbone: str, form: str, px: int, batch: int) -> Callable[[], None]:
    """A training step on one resident batch of noise."""
    config = ModelConfig(backbone=backbone, pretrained=False)
    model = build_model(config, num_labels=14, in_channels=1, image_size=px, seed=0).train()
    if form != "contiguous":
        model.to(memory_format=torch.channels_last)
    if form == "quickened":
        use_matmul_convolutions(model)
    images = torch.randint(0, 256, (batch, px, px), dtype=torch.uint8)
    targets = (torch.rand(batch, 14) < 0.1).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.binary_cross_entropy_with_logits(model(images), targets).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    """Print a row for each backbone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"ms a step of {arguments.batch_size} images of {arguments.px} px, {arguments.threads} thread")
    print(f"{'':<24}" + "".join(f"{form:>16}" for form in FORMS) + "   contiguous over quickened")
    for backbone in arguments.backbones:
        steps = [make_step(backbone, form, arguments.px, arguments.batch_size) for form in FORMS]
        times: list[list[float]] = [[] for _ in FORMS]
        for _ in range(arguments.steps + 1):  # the first one warms up
            for step, kept in zip(steps, times, strict=True):
                started = time.perf_counter()
                step()
                kept.append(time.perf_counter() - started)
        medians = [1e3 * statistics.median(kept[1:]) for kept in times]
        print(
            f"{backbone:<24}" + "".join(f"{ms:>16.1f}" for ms in medians) + f"{medians[0] / medians[-1]:>18.2f} x",
            flush=True,
        )


if __name__ == "__main__":
    main()
