"""Rounds of SIGKILL: a study from nothing, killed at seeded random instants, continued, compared with its twin.

    python tests/faults/rounds.py --rounds 40 --seed 0 --json rounds.json

A round is one study. It is killed in several of its parts, the same command is given again after each kill, and when it
has ended by itself everything it left is compared with an uninterrupted run of the same seed (one trial at a time), or
held against what must be true of any study and each trial's own training (two at a time).
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from compare import differences, epochs_redone, invariants, rows_of
from harness import LIMIT_S, NUM_TRIALS, PHASES, VICTIMS, Place, Run, finish, make_home

SEARCH_VICTIMS = ("driver", "worker", "raylet", "gcs", "machine")
START = ("start", "driver")


@dataclass(frozen=True)
class Kill:
    """Whom to kill in which part of a study, and how far into it: a share of its epochs, or of its undisturbed time."""

    phase: str
    victim: str
    share: float


@dataclass
class Outcome:
    """One round.

    Attributes:
        killed: "victim in phase" for each kill, the phase as the disk had it at that instant.
        missed: kills whose instant never came, since that part was over sooner.
        lost: trials that did not come to a value.
        redone, most_redone: epochs trained again, in all and by one trial after one fault.
        mismatches: what differs from the twin, breaks an invariant, or hangs.
        left_over: processes alive 15 s after the end.
    """

    number: int
    concurrent: int
    killed: list[str] = field(default_factory=list)
    missed: int = 0
    lost: int = 0
    redone: int = 0
    most_redone: int = 0
    mismatches: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Nothing lost, nothing different, nothing left, and no trial redid more than an epoch after a fault."""
        return not (self.lost or self.mismatches or self.left_over or self.most_redone > 1)


@dataclass(frozen=True)
class Reference:
    """The uninterrupted study, one trial at a time.

    Attributes:
        seconds: that each of its parts took.
        num_epochs: of its trials together; kills of a search are spread over so many.
    """

    place: Place
    seconds: dict[str, float]
    num_epochs: int


def reference_run(home: Path, *, more: tuple[str, ...] = ()) -> Reference:
    """Run it."""
    place, seconds = Place(home, "reference", more=more), Counter[str]()
    run = Run(place)
    try:
        before = time.monotonic()
        while run.process.poll() is None:
            now = time.monotonic()
            seconds[place.phase()] += now - before
            before = now
            time.sleep(0.01)
        assert run.wait() == 0, run.output()
        assert not run.left_over()
    finally:
        run.end()
    return Reference(place, dict(seconds), place.num_epochs())


def plan(number: int, *, seed: int, num_kills: int) -> list[Kill]:
    """The kills of a round, in the order of a study's parts; every part and victim has its turn.

    A part's first kill is that of its turn, so that all are met; the others are drawn.
    """
    rng = np.random.default_rng([seed, number])
    turns = [*(("search", victim) for victim in SEARCH_VICTIMS), *((phase, "driver") for phase in PHASES[1:]), START]
    chosen = [turns[number % len(turns)]]
    while len(chosen) < num_kills:
        phase = PHASES[1:][rng.choice(5, p=[0.1, 0.15, 0.15, 0.45, 0.15])]
        chosen.append((phase, SEARCH_VICTIMS[rng.integers(5)] if phase == "search" else "driver"))
    kills = [Kill(phase, victim, float(rng.random())) for phase, victim in chosen]
    return sorted(kills, key=lambda kill: (PHASES.index(kill.phase), kill.share))


def play(place: Place, reference: Reference, kills: Sequence[Kill], number: int) -> Outcome:
    """One round; nothing of it is left running, and its files are removed unless something is wrong."""
    started = time.monotonic()
    out = Outcome(number, place.concurrent)
    runs: list[Run] = []
    try:
        for kill in kills:
            _strike(place, kill, reference, runs, out)
        while runs and runs[-1].process.poll() is None and runs[-1].wait() is None:
            out.mismatches.append(f"{place.name}: it hangs:\n{runs[-1].output()[-2000:]}")
            runs[-1].end()
        if not runs or runs[-1].process.returncode != 0:
            trouble = finish(place, runs)
            out.mismatches += [f"{place.name}: {trouble}"] if trouble else []
        out.left_over = [title for run in runs for title in run.left_over()]
        if not out.mismatches:
            _judge(place, reference.place, out)
    except Exception:
        out.mismatches.append(f"{place.name}: {traceback.format_exc()}")
    finally:
        for run in runs:
            run.end()
    out.seconds = time.monotonic() - started
    if out.good:
        shutil.rmtree(place.root)
    return out


def _strike(place: Place, kill: Kill, reference: Reference, runs: list[Run], out: Outcome) -> None:
    """Bring the study to the instant and kill; a driver that survives (its worker was killed) goes on by itself."""
    if not runs or runs[-1].process.poll() is not None:
        if runs and runs[-1].process.returncode == 0:
            out.missed += 1
            return
        runs.append(Run(place))
    run = runs[-1]
    reached = run.wait_until(lambda: PHASES.index(place.phase()) >= PHASES.index(kill.phase) or kill.phase == "start")
    delay_s = kill.share * reference.seconds.get(kill.phase, 0.0)
    if reached and kill.phase == "search":
        num_epochs, share = divmod(kill.share * reference.num_epochs, 1)
        reached = run.wait_until(lambda: place.num_epochs() >= num_epochs)
        delay_s = share * reference.seconds["search"] / reference.num_epochs
    if reached and kill.victim in ("worker", "raylet", "gcs"):
        reached = run.wait_until(lambda: run.find(kill.victim), every_s=0.1)
    reached = reached and not run.wait_until(lambda: False, delay_s)
    phase = place.phase()
    if not reached or not run.kill(kill.victim):
        out.missed += 1
        return
    out.killed.append(f"{kill.victim} in {phase}")
    if kill.victim != "worker" and run.wait() is None:
        out.mismatches.append(f"{place.name}: hangs after {kill.victim} was killed:\n{run.output()[-2000:]}")
        run.end()


def _judge(place: Place, reference: Place, out: Outcome) -> None:
    rows = rows_of(place)
    out.lost = NUM_TRIALS - sum(row.phase == "search" and row.state in ("complete", "pruned") for row in rows)
    out.redone, out.most_redone = epochs_redone(place)
    out.mismatches += differences(place, reference) if place.concurrent == 1 else invariants(place)


def run_rounds(
    home: Path, numbers: Sequence[int], *, seed: int, num_kills: int = 3, kept: Path | None = None
) -> list[Outcome]:
    """Rounds, every third of them with two trials at a time.

    Args:
        kept: a file of the outcomes, written after each round; rounds that are in it are not played again.
    """
    outcomes = [Outcome(**values) for values in json.loads(kept.read_text())] if kept and kept.exists() else []
    make_home(home)
    reference = reference_run(home)
    seconds = ", ".join(f"{phase} {reference.seconds.get(phase, 0.0):.1f} s" for phase in PHASES)
    print(f"undisturbed: {seconds}; {NUM_TRIALS} trials, {reference.num_epochs} epochs", flush=True)
    for number in sorted(set(numbers) - {outcome.number for outcome in outcomes}):
        place = Place(home, f"round{number:03d}", concurrent=2 if number % 3 == 2 else 1)
        outcome = play(place, reference, plan(number, seed=seed, num_kills=num_kills), number)
        outcomes.append(outcome)
        if kept:
            kept.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
        print(
            f"round {number}: {outcome.concurrent} at a time; {', '.join(outcome.killed) or 'no kill'}; "
            f"missed {outcome.missed}, lost {outcome.lost}, redone {outcome.redone}, "
            f"mismatches {len(outcome.mismatches)}, left over {len(outcome.left_over)}, {outcome.seconds:.0f} s",
            flush=True,
        )
        for line in [*outcome.mismatches, *outcome.left_over]:
            print(f"  {line}", flush=True)
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """What `docs/reliability.md` shows."""
    faults = Counter(kill for outcome in outcomes for kill in outcome.killed)
    lines = ["| | one at a time | two at a time | all |", "| --- | --- | --- | --- |"]
    groups = [[o for o in outcomes if o.concurrent == c] for c in (1, 2)] + [list(outcomes)]
    for title, count in (
        ("rounds", len),
        ("faults", lambda some: sum(len(o.killed) for o in some)),
        ("trials", lambda some: NUM_TRIALS * len(some)),
        ("trials lost", lambda some: sum(o.lost for o in some)),
        ("epochs redone", lambda some: sum(o.redone for o in some)),
        ("most epochs redone by one trial after one fault", lambda some: max((o.most_redone for o in some), default=0)),
        ("mismatches", lambda some: sum(len(o.mismatches) for o in some)),
        ("processes left over", lambda some: sum(len(o.left_over) for o in some)),
    ):
        lines.append(f"| {title} | " + " | ".join(str(count(group)) for group in groups) + " |")
    lines += ["", "| killed | " + " | ".join(PHASES) + " |", "| --- |" + " --- |" * len(PHASES)]
    for victim in VICTIMS:
        lines.append(f"| {victim} | " + " | ".join(str(faults[f"{victim} in {phase}"]) for phase in PHASES) + " |")
    return "\n".join(lines)


def main() -> int:
    """Exit code 1 when a round was not good."""
    parser = argparse.ArgumentParser(description="Kill studies at random instants, and compare what is left of them.")
    parser.add_argument("--rounds", type=int, default=40, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=3, metavar="N", help="in each round")
    parser.add_argument("--home", type=Path, metavar="DIR", help="a new folder to work in (default: a temporary one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the outcomes; what is in it already stands")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that it leaves nothing running
    home = arguments.home.resolve() if arguments.home else Path(tempfile.mkdtemp(prefix="xlite-faults-"))
    numbers = range(arguments.first, arguments.first + arguments.rounds)
    outcomes = run_rounds(home, numbers, seed=arguments.seed, num_kills=arguments.kills, kept=arguments.json)
    print(table(outcomes))
    good = all(outcome.good for outcome in outcomes)
    if good:
        shutil.rmtree(home)
    else:
        print(f"what went wrong lies in {home}; a command may take up to {LIMIT_S:.0f} s (XLITE_FAULTS_LIMIT_S)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
