"""The language that was chosen in the console is kept for the person; --lang goes before it."""

from pathlib import Path

from sophia_tui.i18n import get_language
from tests.tui import stub
from tests.tui.test_console import screen_text, until
from tests.tui.test_screens import whole_world


def app_of(folder: Path, language: str, keeps: bool):
    return stub.make_app(
        whole_world(), folder=folder, whole=True, language=language, keeps_language=keeps
    )


async def test_what_was_chosen_is_kept_and_lang_goes_before_it(tmp_path: Path) -> None:
    app = app_of(tmp_path, "en", keeps=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        assert "Jobs" in screen_text(app)
        app.go("act.language", app.screen)
        await until(pilot, lambda: "Tarefas" in screen_text(app), "Portuguese")
    for keeps, spoken in ((True, "pt_BR"), (False, "en")):
        again = app_of(tmp_path, "en", keeps=keeps)
        async with again.run_test(size=(80, 24)) as pilot:
            await until(pilot, again.painted.is_set, "painted")
            assert f" {spoken} " in screen_text(again)
    assert get_language() in ("en", "pt_BR")
