"""The thirteen traps of OpenAI-compatible fine-tuning that cost others days, each with its tests.

1. The client checks nothing: bounds are ours to check before a byte is sent.
2. A POST is repeated by the client, with no idempotency key: one time-out made three jobs.
3. `status` has words that no type knows.
4. "No error" comes as an object.
5. `hyperparameters` is null for DPO and absent for others.
6. A file's processing ends with status error, or never says a status at all.
7. Retry-After counts up to 120 s; insufficient_quota never succeeds.
8. An answer is a web page, or an error body of another shape.
9. A list says for ever that there is more.
10. A blank key is refused by the client; a keyless server needs a dummy.
11. The client's transport is httpx2, with the operating system's trust.
12. A path as text raises; an empty file is sent without complaint.
13. Unknown fields pass silently.
"""

import ast
import ssl
from pathlib import Path

import pytest

from sophia_tui.domain.hosted import METADATA_KEY
from sophia_tui.providers.openai_jobs import OpenAITrainer
from sophia_tui.services.train import TrainRequest, new_job_id

#: Trap -> the tests that step into it.
TRAPS: dict[int, tuple[str, ...]] = {
    1: (
        "test_what_a_provider_does_not_know_is_refused_here",
        "test_what_is_out_of_bounds_is_refused_before_a_byte_is_sent",
        "test_beta_lies_above_zero_and_up_to_two",
        "test_what_we_refuse_is_wrong_there_as_well",
    ),
    2: (
        "test_no_request_is_repeated_by_itself",
        "test_a_create_without_answer_makes_one_job",
        "test_a_create_whose_answer_is_lost_is_found_again_by_our_id",
        "test_kill_9_while_the_create_is_under_way",
    ),
    3: (
        "test_every_word_for_a_state_is_read",
        "test_words_of_the_provider_are_shown_and_followed_to_the_end",
    ),
    4: ("test_no_error_is_no_error_however_it_is_said",),
    5: (
        "test_absent_hyperparameters_and_strange_times_are_borne",
        "test_a_job_on_preference_pairs_says_its_method_and_beta",
    ),
    6: (
        "test_files_are_waited_for_but_not_for_ever",
        "test_a_refused_file_fails_the_job_before_it_is_created",
    ),
    7: (
        "test_retry_after_is_passed_on_up_to_two_minutes",
        "test_retry_after_may_be_a_date",
        "test_without_quota_it_is_paused_and_not_tried_again_until_somebody_resumes_it",
    ),
    8: (
        "test_an_answer_without_sense_is_never_taken_for_one",
        "test_the_words_of_other_servers_are_read_from_the_body",
    ),
    9: (
        "test_a_list_that_never_ends_is_left",
        "test_a_list_that_always_brings_something_new_is_left",
    ),
    10: ("test_a_keyless_server_needs_no_key",),
    11: ("test_the_transport_is_the_clients_own_and_trusts_what_the_system_trusts",),
    12: (
        "test_a_file_goes_there_whole_and_under_our_name",
        "test_an_empty_file_is_not_sent",
    ),
    13: (
        "test_what_is_not_built_is_refused_and_not_passed_over",
        "test_what_we_put_into_metadata_fits_its_limits",
        "test_a_create_says_all_that_was_asked_and_carries_our_id",
    ),
}


def test_each_trap_has_its_tests() -> None:
    names = {
        each.name
        for path in Path(__file__).parent.glob("test_*.py")
        for each in ast.walk(ast.parse(path.read_text()))
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert sorted(TRAPS) == list(range(1, 14))
    assert {name for tests in TRAPS.values() for name in tests} - names == set()


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("suffix", ["", "x" * 65]),
        ("seed", [-1, 2147483648]),
        ("batch_size", [0, 257]),
        ("learning_rate_multiplier", [0, -1, float("nan"), float("inf")]),
        ("epochs", [0, -1]),
        ("beta", [0, 2.01]),
    ],
)
def test_what_is_out_of_bounds_is_refused_before_a_byte_is_sent(
    field: str, wrong: list[object]
) -> None:
    for value in wrong:
        with pytest.raises(ValueError, match=field):
            TrainRequest.model_validate({"base": "gpt-4o-mini", field: value})


async def test_the_transport_is_the_clients_own_and_trusts_what_the_system_trusts() -> None:
    """A certificate that an operator put into the system's store must count, and no httpx of ours
    may be handed to a client that has another transport."""
    import httpx2

    trainer = OpenAITrainer("https://127.0.0.1:1/v1", "key")
    transport = trainer._client()._client
    assert isinstance(transport, httpx2.AsyncClient) and not transport.follow_redirects
    context = transport._transport._pool._ssl_context
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    await trainer.close()


def test_what_we_put_into_metadata_fits_its_limits() -> None:
    """16 pairs, keys of 64 and values of 512 characters: ours is one pair."""
    assert len(METADATA_KEY) <= 64 and len(new_job_id()) <= 512
