"""The short form of `rounds.py`: a study killed in two of its parts ends as if it had never been interrupted."""

import pytest
from harness import Place, make_home
from rounds import PHASES, SEARCH_VICTIMS, Kill, plan, play, reference_run

pytestmark = pytest.mark.xdist_group("ray")  # one Ray at a time: two would share two cores
KILLS = (Kill("teacher", "driver", 0.5), Kill("search", "machine", 0.6))


def test_a_study_killed_twice_leaves_what_an_uninterrupted_one_leaves(tmp_path):
    home = make_home(tmp_path)
    reference = reference_run(home)
    outcome = play(Place(home, "killed"), reference, KILLS, 0)
    assert outcome.good, outcome
    assert "machine in search" in outcome.killed and len(outcome.killed) == 2


@pytest.mark.slow  # tests/promotion/test_best.py cuts it off between seeds
def test_a_promotion_killed_among_its_seeds_leaves_what_an_uninterrupted_one_leaves(tmp_path):
    home, more = make_home(tmp_path), ("--promote-top", "2", "--promote-seeds", "2")
    reference = reference_run(home, more=more)
    assert len(list((reference.place.study / "retrained").glob("trial_*_seed_*"))) == 4
    outcome = play(Place(home, "killed", more=more), reference, (Kill("promotion", "driver", 0.5),), 0)
    assert outcome.good, outcome


def test_every_part_and_every_victim_has_its_turn():
    met = {(kill.phase, kill.victim) for number in range(11) for kill in plan(number, seed=0, num_kills=1)}
    assert met == {(phase, "driver") for phase in PHASES} | {("search", victim) for victim in SEARCH_VICTIMS}
    assert plan(3, seed=0, num_kills=3) == plan(3, seed=0, num_kills=3) != plan(3, seed=1, num_kills=3)
