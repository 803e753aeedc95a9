"""What benchmarks/search.py makes of its runs: curves, times to the reference, ratios, profile, picture."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OTHER_SHARES = (0.97, 0.98, 0.99)
"""Shares of the reference, shown beside it, to see how much hangs on the choice."""
RANDOM = "random"
"""The full runs that give a seed's reference; no search."""
ONE_OF = 16
"""The reference is the AUC that one of so many random full runs reaches: (a) needs about as many trials for it."""
OURS = "ours"
TITLES = {
    OURS: "X-Lite",
    "a": "(a) full runs one by one",
    "b": "(b) Optuna + median pruner",
    "c": "(c) Ray Tune: OptunaSearch + ASHA",
}
GOALS = {"a": 6.0, "b": 4.0, "c": 3.0}
"""How many times faster than each peer the project wants to be."""
Point = tuple[float, str, int, float]
"""Seconds since the start, trial, epoch, validation macro AUC."""


@dataclass(frozen=True)
class Run:
    """One search.

    Attributes:
        name: a key of TITLES, or RANDOM.
        seconds: from the start of its process to the end of it, or the budget.
        ended: whether it ended by itself, all its trials run.
        points: every epoch, in order of time.
        seconds_by_kind: what its epochs spent their time on, all trials together.
        notes: what else its log said of time.
        load: of the machine, just before the start.
    """

    name: str
    seed: int
    seconds: float
    ended: bool
    points: list[Point]
    seconds_by_kind: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    load: float = 0.0

    @property
    def curve(self) -> list[tuple[float, float]]:
        """(seconds, best AUC so far) wherever it improved."""
        out: list[tuple[float, float]] = []
        for seconds, _, _, value in self.points:
            if not out or value > out[-1][1]:
                out.append((seconds, value))
        return out

    @property
    def best(self) -> float:
        """The best AUC of the run; 0.0 where no epoch ended."""
        return self.curve[-1][1] if self.points else 0.0

    @property
    def rate(self) -> float:
        """Epochs a second once the first has ended, all trials together; NaN of fewer than two epochs."""
        return (len(self.points) - 1) / (self.points[-1][0] - self.points[0][0]) if len(self.points) > 1 else math.nan

    def write(self, folder: Path) -> None:
        """Keep as `<name>-seed<seed>.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**asdict(self), "curve": self.curve})
        (folder / f"{self.name}-seed{self.seed}.json").write_text(text.replace("], [", "],\n[") + "\n")


def read_run(folder: Path, name: str, seed: int) -> Run | None:
    """What `Run.write` kept, or None."""
    file = folder / f"{name}-seed{seed}.json"
    if not file.exists():
        return None
    values = json.loads(file.read_text())
    values.pop("curve")
    return Run(**{**values, "points": [tuple(point) for point in values["points"]]})


@dataclass(frozen=True)
class Time:
    """Seconds, or a ratio of them; with `is_bound` it is at least this. A ratio of 0: ours never got there."""

    value: float
    is_bound: bool = False

    def __str__(self) -> str:
        if self.value == 0:
            return "-"
        return f"{'> ' if self.is_bound else ''}{self.value:.3g}"


def reference_auc(named: Mapping[str, Run], one_of: int = ONE_OF) -> float:
    """What all of a seed's searches are to reach, as one random run in `one_of` does; of so many or fewer, the best.

    Infinite where the random runs are not there.
    """
    if RANDOM not in named:
        return math.inf
    bests: dict[str, float] = {}
    for _, trial, _, value in named[RANDOM].points:
        bests[trial] = max(value, bests.get(trial, value))
    return sorted(bests.values())[-max(1, len(bests) // one_of)]


def time_to_reach(run: Run, reference: float) -> Time:
    """When the best so far first was at least `reference`; a bound, the whole run, if it never was."""
    for seconds, best in run.curve:
        if best >= reference:
            return Time(seconds)
    return Time(run.seconds, is_bound=True)


def ratio(peer: Time, ours: Time) -> Time:
    """How many times as long the peer took; 0 where ours did not get there, so that the peer counts as faster."""
    return Time(0.0) if ours.is_bound else Time(peer.value / ours.value, peer.is_bound)


def median(times: Sequence[Time]) -> Time:
    """Of bounds taken at their value; itself a bound if one at or below it is."""
    value = statistics.median(time.value for time in times)
    return Time(value, any(time.is_bound and time.value <= value for time in times))


def speed_up(runs: Mapping[int, Mapping[str, Run]], name: str, share: float = 1.0, one_of: int = ONE_OF) -> Time:
    """Median over the seeds of how many times as long as ours a search took to reach `share` of the reference AUC.

    Only seeds that have both count; there is one at least.
    """
    ratios = []
    for named in runs.values():
        if name in named and OURS in named:
            aim = share * reference_auc(named, one_of)
            ratios.append(ratio(time_to_reach(named[name], aim), time_to_reach(named[OURS], aim)))
    return median(ratios)


def whole(run: Run) -> Time:
    """How long all of it took."""
    return Time(run.seconds, not run.ended)


def points_of_reports(file: Path, started: float) -> tuple[list[Point], dict[str, float]]:
    """A peer's points and seconds by kind, from the lines it wrote; `started` is the time of day of its start."""
    points, kinds = [], dict[str, float]()
    for line in file.read_text().splitlines() if file.exists() else ():
        report = json.loads(line)
        points.append((report["time"] - started, str(report["trial"]), report["epoch"], report["value"]))
        for kind, seconds in report["seconds"].items():
            kinds[kind] = kinds.get(kind, 0.0) + seconds
    return sorted(points), kinds


def points_of_study(folder: Path, started: float) -> tuple[list[Point], dict[str, float]]:
    """The same of a study of ours: TensorBoard events carry the time of day, trial.json the seconds by kind."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    points, kinds = [], dict[str, float]()
    for run in sorted((folder / "runs").glob("*/")):  # none before the first begins
        number = run.name.split()[0]
        events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
        if "val/auc_macro" in events.Tags()["scalars"]:
            for event in events.Scalars("val/auc_macro"):
                points.append((event.wall_time - started, number, event.step, event.value))
        file = folder / "trials" / number / "trial.json"
        record = json.loads(file.read_text()) if file.exists() else {}
        for kind, seconds in record.get("seconds_by_kind", {}).items():
            kinds[kind] = kinds.get(kind, 0.0) + seconds
    return sorted(points), kinds


def tell(runs: Mapping[int, Mapping[str, Run]], one_of: int = ONE_OF) -> str:
    """Every run, medians over the seeds, ratios to ours with their goals, and with other shares as the reference."""
    lines = [f"{'':<34}  seed  reference  reached, s  whole, s    best  trials  epochs"]
    for seed, named in runs.items():
        aim = reference_auc(named, one_of)
        for name, run in named.items():
            reached = "" if name == RANDOM else str(time_to_reach(run, aim))
            trials = len({point[1] for point in run.points})
            lines.append(
                f"{TITLES.get(name, 'random full runs'):<34}{seed:>6}{aim:>11.4f}{reached:>12}{whole(run)!s:>10}"
                f"{run.best:>8.4f}{trials:>8}{len(run.points):>8}"
            )
    peers = [name for name in GOALS if any(name in named and OURS in named for named in runs.values())]
    lines += ["", f"{'median of the seeds, x ours':<34}{'reached':>10}"]
    lines[-1] += "".join(f"{f'at {share:g}':>10}" for share in OTHER_SHARES)
    for name in peers:
        cells = [speed_up(runs, name, share, one_of) for share in (1.0, *OTHER_SHARES)]
        lines.append(f"{TITLES[name]:<34}" + "".join(f"{cell!s:>10}" for cell in cells))
    lines.append("")
    for name in peers:
        found = speed_up(runs, name, one_of=one_of)
        short = "not shown" if found.is_bound else "missed"  # the peer was not watched for long enough
        verdict = "reached" if found.value >= GOALS[name] else short
        what = f"ratio time to the reference AUC, {TITLES[name]} over ours"
        lines.append(f"{what}: {found} (goal: at least {GOALS[name]:g}, {verdict})")
    return "\n".join(lines)


def tell_profile(runs: Mapping[int, Mapping[str, Run]]) -> str:
    """Where the time goes: seconds of an epoch by kind, end of the first, how many a second follow, what logs say."""
    kinds = ("data", "teacher", "step", "evaluation", "checkpoint")
    lines = [
        f"{'seconds of an epoch, mean':<34}"
        + "".join(f"{kind:>11}" for kind in (*kinds, "all", "first ends", "a second"))
    ]
    notes = []
    for name, title in TITLES.items():
        mine = [named[name] for named in runs.values() if name in named and named[name].points]
        if not mine:
            continue
        epochs = sum(len(run.points) for run in mine)
        spent = [sum(run.seconds_by_kind.get(kind, 0.0) for run in mine) / epochs for kind in kinds]
        first = statistics.median(run.points[0][0] for run in mine)
        rate = statistics.median(run.rate for run in mine)
        lines.append(f"{title:<34}" + "".join(f"{seconds:>11.3f}" for seconds in (*spent, sum(spent), first, rate)))
        notes += [f"{title}, seed {run.seed}: {note}" for run in mine for note in run.notes]
    return "\n".join([*lines, *notes])


def draw(runs: Mapping[int, Mapping[str, Run]], file: Path, one_of: int = ONE_OF) -> None:
    """All curves, a panel a seed; dotted lines are the references, a cross ends a run that was cut off."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    colours: dict[str, Any] = dict(zip(TITLES, ("tab:blue", "tab:red", "tab:orange", "tab:green"), strict=True))
    figure = Figure(figsize=(5 * len(runs), 4), layout="constrained")
    for axes, (seed, named) in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs.items(), strict=True):
        for name, run in named.items():
            if name != RANDOM and run.points:
                seconds, best = zip(*run.curve, (run.seconds, run.best), strict=True)
                axes.step(seconds, best, where="post", color=colours[name], label=TITLES[name])
                axes.plot(run.seconds, run.best, "|" if run.ended else "x", color=colours[name])
        if RANDOM in named:
            axes.axhline(reference_auc(named, one_of), color="grey", linestyle=":")
        axes.set(title=f"seed {seed}", xscale="log", xlabel="seconds since start", ylabel="best validation AUC so far")
        axes.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator(), major_formatter="{x:g}")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(loc="lower right", fontsize="small")
    figure.savefig(file, dpi=120)
