"""One of several processes on a GPU: trains a small student for as long as it is told.

    python -m xlite.gpu_check.client DEVICE FOLDER PX NUM     # so many images there

It prints a line of JSON when it is ready, and one for each line it reads:
`train SECONDS` -> {"images": ..., "seconds": ...}, with batches from the loader; `resident SECONDS`: on one batch;
`allocate SHARE` -> {"inside": whether it got nearly that share of the memory, "beyond": whether more was refused}.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch

from xlite.data.dataset import Dataset
from xlite.device import choose_device
from xlite.gpu_check.material import STUDENTS, TOY, batches, images, run_of, synchronise
from xlite.train.batch_loader import Batch, BatchLoader
from xlite.train.step import GraphStep, Learner

_CHUNK = 16  # steps that may be queued on the device before it is waited for


class Client:
    """A student with its batches, its step recorded."""

    def __init__(self, dataset: Dataset, kind: str) -> None:
        self.device = choose_device(kind=kind)
        torch.set_num_threads(1)
        on_gpu = self.device.on_gpu
        student = {"model__backbone": STUDENTS[0] if on_gpu else TOY, "optim__batch_size": 32 if on_gpu else 8}
        self.run = run_of(dataset, self.device, **student)
        learner = Learner(self.run)
        learner.prepare(frozen=False, rate=1e-4)
        self.batch = batches(self.run, 1)[0]
        self.step = GraphStep(learner, self.batch)
        self.train(0.3, self.loaded())

    def loaded(self) -> Iterator[Batch]:
        """Batches for ever."""
        loader = BatchLoader(self.run)
        for epoch in count():
            yield from loader.batches(loader.plan(epoch))

    def resident(self) -> Iterator[Batch]:
        """One batch for ever."""
        while True:
            yield self.batch

    def train(self, seconds: float, given: Iterator[Batch]) -> dict[str, float]:
        """Steps for so long."""
        started, num_images = time.perf_counter(), 0
        for number, batch in enumerate(given, start=1):
            self.step.step(batch)
            num_images += len(batch.targets)
            if number % _CHUNK == 0 or not self.device.on_gpu:
                synchronise(self.device)
                if time.perf_counter() - started > seconds:
                    break
        return {"images": num_images, "seconds": time.perf_counter() - started}

    def allocate(self, share: float) -> dict[str, bool]:
        """What PyTorch's limit to a share does here."""
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(share)
        free = int(share * total) - torch.cuda.memory_reserved()
        got = []
        try:
            for num_bytes in (int(0.9 * free), int(0.2 * free)):
                got.append(torch.empty(num_bytes, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            pass
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return {"inside": len(got) >= 1, "beyond": len(got) == 1}

    def answer(self, command: str, value: float) -> dict[str, Any]:
        """To one line."""
        if command == "allocate":
            return dict(self.allocate(value))
        return dict(self.train(value, self.loaded() if command == "train" else self.resident()))


def main() -> None:
    """Serve until standard input ends."""
    kind, folder, px, num = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        client = Client(images(folder, px=px, num_train=num, num_val=8, distinct=num), kind)
        free, total = torch.cuda.mem_get_info() if client.device.on_gpu else (0, 0)
        say({"total": total, "free": free})
    except Exception as error:  # also without a context: the one who started it wants to know why
        say({"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"})
        return
    for line in sys.stdin:
        command, value = line.split()
        say(client.answer(command, float(value)))


if __name__ == "__main__":
    main()
