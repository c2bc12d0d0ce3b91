"""What is wrong with a field is said so that a person can mend it."""

import pytest
from pydantic import ValidationError

from sophia_tui.services.prepare import PrepareInput
from sophia_tui.validation import where_and_what


def test_a_split_is_explained_by_examples() -> None:
    with pytest.raises(ValidationError) as wrong:
        PrepareInput(split="80-20")
    assert where_and_what(wrong.value.errors()) == "split: must be like 80/20 or 80/10/10"
