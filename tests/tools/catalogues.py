"""Keeps the catalogues in step with the code: `python -m tests.tools.catalogues [--check]`.

Without --check it extracts every text, merges it into locale/pt_BR/LC_MESSAGES/sophia.po and
compiles the .mo. With --check it changes nothing and lists what is missing, fuzzy, left over,
wrongly formatted or not compiled.
"""

import ast
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

PACKAGE = Path(__file__).parents[2] / "sophia_tui"
FOLDER = PACKAGE / "locale" / "pt_BR" / "LC_MESSAGES"
#: How many texts each of our functions takes: the singular and the plural where it is two.
FUNCTIONS = {"_": 1, "N_": 1, "ngettext": 2}
_PLACEHOLDER = re.compile(r"\{[a-z_0-9.:]*\}|%\([a-z_]+\)[sdr]|%[sdr]")


def texts(source: str) -> Iterator[str | tuple[str, str]]:
    """The texts of one module, by its syntax tree: so calls inside f-strings count on every version
    of Python (Babel's own extractor goes by tokens and misses them before 3.12)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            wanted = node.args[: FUNCTIONS.get(node.func.id, 0)]
            found = [each.value for each in wanted if isinstance(each, ast.Constant)]
            strings = [each for each in found if isinstance(each, str) and each]
            if strings and len(strings) == FUNCTIONS[node.func.id]:
                yield strings[0] if len(strings) == 1 else (strings[0], strings[1])


def extracted() -> Catalog:
    """Every text of the package, with the files it stands in."""
    catalogue = Catalog(project="sophia", charset="utf-8")
    for file in sorted(PACKAGE.rglob("*.py")):
        place = file.relative_to(PACKAGE).as_posix()
        for message in texts(file.read_text(encoding="utf-8")):
            catalogue.add(message, locations=[(place, 0)])
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
        told = [] if translated is None else translated.string
        forms = [told] if isinstance(told, str) else list(told or ())
        if not forms or not all(forms):
            listed.append(f"not translated: {first!r} ({message.locations[0][0]})")
        elif translated is not None and translated.fuzzy:
            listed.append(f"fuzzy: {first!r}")
        elif any(
            set(_PLACEHOLDER.findall(each)) != set(_PLACEHOLDER.findall(first)) for each in forms
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
