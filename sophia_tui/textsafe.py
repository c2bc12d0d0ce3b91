"""Makes hostile text harmless for a terminal: control, escape and bidirectional marks are shown."""

import re
import unicodedata

# C0 and C1 controls, DEL, lone surrogates, line separators, and all that has no shape of its own:
# bidirectional overrides and isolates, zero-width marks, fillers, tag characters, the variation
# selectors that can carry a hidden text (not those two that choose between sign and emoji). All of
# them change what a terminal does or what a person reads.
HOSTILE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160"
    "\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff"
    "\uffa0\ufff0-\ufffb\ud800-\udfff\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
#: More marks upon one letter than any language writes: they would cover the lines around it.
_MOST_MARKS = 5
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe0e\ufe0f\ufe20-\ufe2f"
)
_FLOOD = re.compile(f"[{_MARKS}]{{{_MOST_MARKS + 1},}}")

#: ASCII for signs that are no letters, each as wide as what it stands for.
PLAIN_SIGNS = {
    **{"…": "~", "–": "-", "—": "-", "·": "-", "•": "*", "●": "*", "○": "o", "◇": "o", "◆": "@"},
    **{"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "«": "<", "»": ">", "‹": "<", "›": ">"},
    **{"✓": "+", "✗": "x", "×": "x", "→": ">", "←": "<", "↑": "^", "↓": "v", "−": "-", "≈": "~"},
    **{"█": "#", "░": "-", "▒": ":", "▓": "#", "─": "-", "━": "-", "│": "|", "┃": "|", "\xa0": " "},
    **{"≤": "<", "≥": ">", "€": "E", "°": "o", "§": "S"},
    **dict(zip("▁▂▃▄▅▆▇", "__..~~^", strict=True)),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯", "+"),
}


def plain_sign(sign: str) -> str:
    """A sign as ASCII, as wide as it is; a letter or figure of a language stays."""
    if sign.isascii() or unicodedata.category(sign)[0] in "LMN":
        return sign
    wide = unicodedata.east_asian_width(sign) in "WF"
    if "\u2400" <= sign <= "\u2421":  # the picture of a control
        return "^"
    return PLAIN_SIGNS.get(sign, "??" if wide else "?")


def _mark(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the Unicode pictures of the controls, e.g. ␛
    if code == 0x7F:
        return "\u2421"
    return f"<U+{code:04X}>"


def _dammed(match: re.Match[str]) -> str:
    marks = match.group()
    return f"{marks[:_MOST_MARKS]}<+{len(marks) - _MOST_MARKS}>"


def visible(text: str) -> str:
    """`text` on one line; what a terminal could act on becomes a visible mark."""
    text = HOSTILE.sub(_mark, text)
    return text if text.isascii() else _FLOOD.sub(_dammed, text)


def visible_lines(text: str) -> str:
    """As `visible`, but line feeds stay line feeds and tabs become four spaces."""
    return "\n".join(visible(line) for line in text.replace("\t", "    ").split("\n"))


def drawn(text: str) -> str:
    """As long as `text`, sign for sign: what a terminal could act on becomes a sign of one cell."""
    text = HOSTILE.sub(_sign, text)
    return text if text.isascii() else _FLOOD.sub(_sparse, text)


def _sign(match: re.Match[str]) -> str:
    code = ord(match.group())
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"


def _sparse(match: re.Match[str]) -> str:
    return match.group()[:_MOST_MARKS] + "\ufffd" * (len(match.group()) - _MOST_MARKS)
