"""How trials that ran out of memory or whose GPU failed are retried: exact histories."""

import pytest
import torch

from xlite.device import is_gpu_fault, is_out_of_memory
from xlite.gpu.memory_policy import Attempt, after_out_of_memory, after_shared_faults


def history(attempt):
    """(share, micro-batches) of every attempt of a trial that always runs out of memory, and the last attempt."""
    seen = []
    while attempt is not None:
        seen.append((attempt.share, attempt.accumulation))
        last, attempt = attempt, after_out_of_memory(attempt)
    return seen, last


def test_the_share_grows_once_then_the_batch_is_split_ever_finer():
    seen, last = history(Attempt(batch_size=16, share=1 / 4))
    assert seen == [(1 / 4, 1), (1 / 2, 1), (1 / 2, 2), (1 / 2, 4), (1 / 2, 8), (1 / 2, 16)]
    assert last.batch_size == 16


def test_with_the_whole_gpu_the_batch_is_split_at_once():
    assert history(Attempt(batch_size=4, share=1.0))[0] == [(1.0, 1), (1.0, 2), (1.0, 4)]


def test_a_batch_of_one_is_not_split():
    assert history(Attempt(batch_size=1, share=1.0))[0] == [(1.0, 1)]
    assert history(Attempt(batch_size=1, share=1 / 2))[0] == [(1 / 2, 1), (1.0, 1)]


def test_micro_batches_of_a_batch_of_six_end_at_single_examples():
    seen, last = history(Attempt(batch_size=6, share=1.0))
    assert [accumulation for _, accumulation in seen] == [1, 2, 4, 6]
    assert "into 4 micro-batches of up to 2 " in last.notes[1]


def test_the_notes_name_each_retry():
    _, last = history(Attempt(batch_size=2, share=1 / 4))
    assert last.notes == (
        "ran out of memory at 1/4 of the GPU; retried at 1/2 of the GPU",
        "ran out of memory at 1/2 of the GPU; retried with batches of 2 split into 2 micro-batches of up to "
        "1 (which batch normalisation sees)",
    )
    assert history(Attempt(batch_size=1, share=1 / 2))[1].notes == (
        "ran out of memory at 1/2 of the GPU; retried at the whole GPU",
    )


def test_a_user_s_own_share_grows_to_the_next_class():
    assert after_out_of_memory(Attempt(batch_size=8, share=0.3)).share == 1 / 2


def test_a_trial_whose_shared_gpu_failed_repeatedly_gets_it_alone():
    alone = after_shared_faults(Attempt(batch_size=8, share=1 / 4, accumulation=2, grown=True), 2)
    assert (alone.share, alone.accumulation, alone.grown) == (1.0, 2, True)
    assert alone.notes == ("the GPU failed 2 times while shared; resumed alone on it from the checkpoint",)


@pytest.mark.parametrize(
    ("error", "memory", "fault"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True, False),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True, False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("CUDA error: unspecified launch failure"), False, True),
        (RuntimeError("CUDA error: the MPS client was terminated by the server"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False, True),
        (RuntimeError("shape '[2]' is invalid for input of size 3"), False, False),
        (ValueError("CUDA error: quoted by somebody else"), False, False),
    ],
)
def test_out_of_memory_and_gpu_faults_are_recognised(error, memory, fault):
    assert (is_out_of_memory(error), is_gpu_fault(error)) == (memory, fault)


def test_running_out_of_main_memory_is_neither():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58)
    assert not is_out_of_memory(caught.value) and not is_gpu_fault(caught.value)
