"""A terminal on paper: what it shows after what the console has sent."""

import re

from rich.cells import get_character_cell_size

_SEQUENCE = re.compile(r"\x1b\[([0-9;]*)([HGKm])")
#: What a program asks of its terminal and what changes no cell.
_APART = re.compile(r"\x1b\[[?>=<][0-9;]*[$a-zA-Z]+|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


def shown_after(sent: bytes, width: int = 80, height: int = 24) -> str:
    """What a terminal shows that has got all this since its program began."""
    paper = Paper(width, height)
    text = _APART.sub("", sent.decode(errors="ignore")).replace("\r", "").replace("\n", "")
    paper.take(text.rpartition("\x1b")[0] if _cut_off(text) else text)
    return "\n".join(paper.text)


def _cut_off(text: str) -> bool:
    """Whether its last sequence has not come in full."""
    _before, sign, after = text.rpartition("\x1b")
    return bool(sign) and not any(each.isalpha() for each in after)


class Paper:
    """A terminal that knows the few sequences a Wire sends, and no other."""

    def __init__(self, width: int, height: int) -> None:
        # what it shows before anything was sent is nothing that may be relied on
        self.rows = [[("?", "7")] * width for _row in range(height)]
        self.width = width
        self.x = self.y = 0
        self.drawn = ""

    def take(self, sent: str) -> None:
        place = 0
        while place < len(sent):
            found = _SEQUENCE.match(sent, place)
            if found:
                self._obey(found[2], found[1])
                place = found.end()
            else:
                assert sent[place].isprintable(), repr(sent[place : place + 20])
                self._put(sent[place])
                place += 1

    def _obey(self, what: str, numbers: str) -> None:
        given = [int(each or 0) for each in numbers.split(";")]
        if what == "H":
            self.y, self.x = max(1, given[0]) - 1, (given[1] if len(given) > 1 else 1) - 1
        elif what == "G":
            self.x = given[0] - 1
        elif what == "K":
            self.rows[self.y][self.x :] = [(" ", self.drawn)] * (self.width - self.x)
        else:
            kept = [] if given[0] == 0 else self.drawn.split(";")
            self.drawn = ";".join(filter(None, [*kept, *map(str, given[given[0] == 0 :])]))

    def _put(self, sign: str) -> None:
        taken = get_character_cell_size(sign)
        if taken == 0:
            before, drawn = self.rows[self.y][self.x - 1]
            self.rows[self.y][self.x - 1] = (before + sign, drawn)
            return
        row = self.rows[self.y]
        if row[self.x][0] == "" and self.x:
            row[self.x - 1] = (" ", "")  # half of a sign is no sign
        row[self.x : self.x + taken] = [(sign, self.drawn), ("", self.drawn)][:taken]
        if self.x + taken < self.width and row[self.x + taken][0] == "":
            row[self.x + taken] = (" ", "")
        self.x = min(self.width - 1, self.x + taken)

    @property
    def text(self) -> list[str]:
        return ["".join(sign for sign, _drawn in row) for row in self.rows]
