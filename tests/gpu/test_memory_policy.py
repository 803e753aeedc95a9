"""What becomes of trials that ran out of memory or whose GPU failed: exact histories."""

import pytest
import torch

from xlite.gpu.memory_policy import (
    Attempt,
    after_out_of_memory,
    after_shared_faults,
    is_gpu_fault,
    is_out_of_memory,
)


def history(attempt):
    """(share, parts) of every attempt of a trial that runs out of memory each time."""
    seen = []
    while attempt is not None:
        seen.append((attempt.share, attempt.accumulation))
        last, attempt = attempt, after_out_of_memory(attempt)
    return seen, last


def test_first_a_larger_share_once_then_more_and_more_parts_of_the_same_batch():
    seen, last = history(Attempt(batch_size=16, share=1 / 4))
    assert seen == [(1 / 4, 1), (1 / 3, 1), (1 / 3, 2), (1 / 3, 4), (1 / 3, 8), (1 / 3, 16)]
    assert last.batch_size == 16 and last.micro_batch == 1


def test_a_trial_with_the_whole_gpu_goes_to_parts_at_once():
    assert history(Attempt(batch_size=4, share=1.0))[0] == [(1.0, 1), (1.0, 2), (1.0, 4)]


def test_a_batch_of_one_has_no_parts():
    assert history(Attempt(batch_size=1, share=1.0))[0] == [(1.0, 1)]
    assert history(Attempt(batch_size=1, share=1 / 2))[0] == [(1 / 2, 1), (1.0, 1)]


def test_parts_of_an_odd_batch_end_at_single_examples():
    seen, last = history(Attempt(batch_size=6, share=1.0))
    assert [parts for _, parts in seen] == [1, 2, 4, 6]
    assert last.micro_batch == 1
    assert Attempt(batch_size=6, share=1.0, accumulation=4).micro_batch == 2


def test_the_record_says_what_happened():
    _, last = history(Attempt(batch_size=2, share=1 / 4))
    assert last.notes == (
        "ran out of memory at 1/4 of the GPU; went on at 1/3 of the GPU",
        "ran out of memory at 1/3 of the GPU; went on with batches of 2 computed as 2 parts of up to 1 "
        "(batch normalisation sees the parts)",
    )
    assert history(Attempt(batch_size=1, share=1 / 2))[1].notes == (
        "ran out of memory at 1/2 of the GPU; went on at the whole GPU",
    )


def test_a_share_a_person_chose_grows_to_the_next_class():
    assert after_out_of_memory(Attempt(batch_size=8, share=0.3)).share == 1 / 3


def test_a_trial_whose_shared_gpu_failed_again_and_again_gets_it_alone():
    alone = after_shared_faults(Attempt(batch_size=8, share=1 / 4, accumulation=2, grown=True), 2)
    assert (alone.share, alone.accumulation, alone.grown) == (1.0, 2, True)
    assert alone.notes == (
        "the GPU failed 2 times under this trial and others; went on alone on it, from the checkpoint",
    )


@pytest.mark.parametrize(
    ("error", "memory", "fault"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True, False),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("CUDA error: unspecified launch failure"), False, True),
        (RuntimeError("CUDA error: the MPS client was terminated by the server"), False, True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False, True),
        (RuntimeError("shape '[2]' is invalid for input of size 3"), False, False),
        (ValueError("CUDA error: quoted by somebody else"), False, False),
    ],
)
def test_errors_are_told_apart(error, memory, fault):
    assert (is_out_of_memory(error), is_gpu_fault(error)) == (memory, fault)


def test_memory_of_the_machine_is_another_matter():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58)
    assert not is_out_of_memory(caught.value) and not is_gpu_fault(caught.value)
