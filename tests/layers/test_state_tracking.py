"""What each kind of memory can keep track of, by training one: examples/state_tracking.py, ten seconds each."""

import importlib.util
import pathlib

import pytest

torch = pytest.importorskip("torch")
gallery = pytest.importorskip("resolvent.gallery")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example():
    """The script of the examples as a module, on one thread, which at these sizes is the fastest."""
    place = pathlib.Path(__file__).parents[2] / "examples" / "state_tracking.py"
    spec = importlib.util.spec_from_file_location("state_tracking_example", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield module
    torch.set_num_threads(threads)


def trained(example, memory, task, factors, **options):
    """Accuracies on the last eighth of words of so many times the length trained on."""
    return example.train(memory, gallery.state_tracking.by_name(task), factors=factors, **options)


@pytest.mark.parametrize("memory", ["gated linear attention", "DeltaNet, beta to 1", "DeltaProduct of 2, beta to 1"])
def test_eigenvalues_from_0_to_1_leave_parity_at_chance(example, memory):
    assert max(trained(example, memory, "parity", (2, 8))) < 0.6


@pytest.mark.parametrize("seed", [0, 1])
def test_a_reflection_keeps_parity_at_eight_times_the_length(example, seed):
    assert trained(example, "DeltaNet, beta to 2", "parity", (8,), seed=seed)[0] > 0.95


def test_one_reflection_a_token_knows_the_sign_of_a_permutation_at_most(example):
    """Chance is 1/6; who knows the sign is right one time in three."""
    assert max(trained(example, "DeltaNet, beta to 2", "S3", (2, 8))) < 1 / 3 + 0.1


def test_two_reflections_a_token_permute_three_things(example):
    at_four, at_eight = trained(example, "DeltaProduct of 2, beta to 2", "S3", (4, 8))
    assert at_four > 0.97
    assert at_eight > 0.8


def test_one_reflection_a_token_stays_near_chance_on_a5(example):
    assert max(trained(example, "DeltaNet, beta to 2", "A5_generators", (2, 4))) < 0.1


def test_two_reflections_a_token_follow_the_rotations_of_the_icosahedron(example):
    at_four, at_eight = trained(example, "DeltaProduct of 2, beta to 2", "A5_generators", (4, 8))
    assert at_four > 0.95
    assert at_eight > 0.7


def test_two_reflections_do_not_help_where_beta_stays_below_one(example):
    assert trained(example, "DeltaProduct of 2, beta to 1", "S3", (2,))[0] < 1 / 3 + 0.1
