"""Keeps the catalogues in step with the code: `python -m tests.tools.catalogues [--check]`.

Without --check it extracts every text, merges it into locale/pt_BR/LC_MESSAGES/sophia.po and
compiles the .mo. With --check it changes nothing and lists what is missing, fuzzy, left over,
wrongly formatted or not compiled.
"""

import io
import re
import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

PACKAGE = Path(__file__).parents[2] / "sophia_tui"
FOLDER = PACKAGE / "locale" / "pt_BR" / "LC_MESSAGES"
KEYWORDS = {"_": None, "N_": None, "ngettext": (1, 2)}
_PLACEHOLDER = re.compile(r"\{[a-z_0-9.:]*\}|%\([a-z_]+\)[sdr]|%[sdr]")


def extracted() -> Catalog:
    """Every text of the package, with the files it stands in."""
    catalogue = Catalog(project="sophia", charset="utf-8")
    found = extract_from_dir(str(PACKAGE), [("**.py", "python")], keywords=KEYWORDS)
    for file, _line, message, _comments, _context in found:
        if message:
            catalogue.add(message, locations=[(file, 0)])
    return catalogue


def stored() -> Catalog:
    """The Portuguese catalogue as it stands."""
    file = FOLDER / "sophia.po"
    if not file.exists():
        return Catalog(locale="pt_BR", project="sophia", charset="utf-8", fuzzy=False)
    with file.open("rb") as stream:
        return read_po(stream, locale="pt_BR")


def _compiled(catalogue: Catalog) -> bytes:
    buffer = io.BytesIO()
    write_mo(buffer, catalogue)
    return buffer.getvalue()


def problems() -> list[str]:
    """What keeps the catalogue from being complete; empty when all is well."""
    wanted, have = extracted(), stored()
    listed = []
    for message in wanted:
        if not message.id:
            continue
        first = message.id if isinstance(message.id, str) else message.id[0]
        translated = have.get(message.id)
        texts = [] if translated is None else translated.string
        texts = [texts] if isinstance(texts, str) else list(texts or ())
        if not texts or not all(texts):
            listed.append(f"not translated: {first!r} ({message.locations[0][0]})")
        elif translated is not None and translated.fuzzy:
            listed.append(f"fuzzy: {first!r}")
        elif any(
            set(_PLACEHOLDER.findall(each)) != set(_PLACEHOLDER.findall(first)) for each in texts
        ):
            listed.append(f"placeholders differ: {first!r}")
    listed += [
        f"left over: {each.id!r}" for each in have if each.id and wanted.get(each.id) is None
    ]
    compiled = FOLDER / "sophia.mo"
    if not compiled.exists() or compiled.read_bytes() != _compiled(have):
        listed.append("sophia.mo is not compiled from sophia.po")
    return listed


def update() -> None:
    """Merge the code's texts into the .po, drop what is left over, compile the .mo."""
    wanted, have = extracted(), stored()
    begun = have.creation_date  # kept: a new date alone would be a change in every commit
    have.update(wanted, no_fuzzy_matching=True)
    have.obsolete.clear()
    have.creation_date = have.revision_date = begun
    have.version = "1"
    have.header_comment = "# Brazilian Portuguese texts of Sophia."
    have.msgid_bugs_address = have.last_translator = have.language_team = "Sophia"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "sophia.po").open("wb") as stream:
        write_po(stream, have, width=100, sort_output=True, include_lineno=False)
    (FOLDER / "sophia.mo").write_bytes(_compiled(stored()))


if __name__ == "__main__":
    if "--check" not in sys.argv:
        update()
    for line in problems():
        print(line)
    sys.exit(1 if problems() else 0)
