"""The pictures in the README are what the console shows today of the recorded run of the demo."""

import difflib

from tests.tools import tour


def test_the_pictures_of_the_tour_are_current() -> None:
    """Made anew as they were made: sample, collection and preparation by the services, events,
    models and scores taken in as the worker does, shown by the console."""
    now = tour.made()
    kept = {path.stem: path.read_text(encoding="utf-8") for path in tour.FOLDER.glob("*.svg")}
    told = [
        line
        for name in sorted({*now, *kept})
        for line in difflib.unified_diff(
            kept.get(name, "").splitlines(), now.get(name, "").splitlines(), name, "now", n=0
        )
    ]
    assert now == kept, "\n".join(["Renew them: python -m tests.tools.tour", *told[:60]])
