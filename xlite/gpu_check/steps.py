"""The steps of the check, the most important first. Imports nothing slow."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        function: MODULE:FUNCTION; takes a Place and returns a line, or raises.
        shows: what it proves or measures.
        limit_s: it is ended then, and has failed.
        expected_s: on an H100, an estimate.
        needs: packages without which it is passed over.
        gpu_only: there is nothing to try without a GPU.
        extra: run only when named.
    """

    name: str
    function: str
    shows: str
    limit_s: float
    expected_s: float
    needs: tuple[str, ...] = ()
    gpu_only: bool = False
    extra: bool = False


def _step(name: str, module: str, shows: str, limit_s: float, expected_s: float, **more: object) -> Step:
    function = f"xlite.gpu_check.{module}:{name.replace('-', '_')}"
    return Step(name, function, shows, limit_s, expected_s, **more)  # type: ignore[arg-type]


_SEARCHING = {"needs": ("ray", "optuna")}
# fmt: off
STEPS = (
    _step("card", "machine", "card, driver, bf16, MPS's control program; nvidia-smi's UUID is PyTorch's", 180, 8),
    _step("one-step", "arithmetic", "a float32 step equals the CPU's; AdamW's formula; no plain step waits", 150, 14),
    _step("recorded", "arithmetic", "recorded steps equal plain ones, over models; dropout's masks differ", 180, 50),
    _step("failures", "failures", "a failed capture, no memory, lr = inf; then a normal trial beside them", 120, 20),
    _step("resumed", "failures", "a trial interrupted and resumed equals one straight through", 120, 22),
    _step("speed", "speed", "images/s of students and teacher: resident, recorded, end to end", 280, 100),
    _step("mps", "sharing", "1, 4, 8 processes, with MPS and without; one killed; a dead pipe", 360, 70),
    _step("bank", "banks", "the bank holds the live teacher's answers and pixels; views/s; KD epoch over a plain one",
          150, 40),
    _step("probe", "memory", "the probe's memory and step time against 60 steps of a trial", 150, 40),
    _step("precision", "memory", "AUC and thresholds of the same weights in bf16 and float32", 120, 12),
    _step("feed", "speed", "images/s of batches without a model, and of evaluation", 120, 14),
    _step("settings", "speed", "cudnn.benchmark, channels last, TF32: do they gain?", 120, 26, gpu_only=True),
    _step("search", "search", "a real tune_kd.py, four trials on the card, killed once and continued: nothing is lost",
          300, 60, **_SEARCHING),
    _step("epoch", "speed", "one whole epoch of ConvNeXt-Tiny on 78,484 images against the scaled one", 180, 70,
          extra=True),
    _step("job", "search", "a reduced search on 224 px, scaled to 32 trials on 15,697 images", 480, 240, extra=True,
          **_SEARCHING),
)
# fmt: on
