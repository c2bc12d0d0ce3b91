"""A record of a data file as text: laid out for people, as JSON of several lines, or as it stands.

Whatever is in the record is in each of the three. A text longer than a page is shown page by page.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from textual.content import Content

from sophia_tui.i18n import N_, _, number
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui.columns import LEAST, beside
from sophia_tui.tui.parts import Part, pairs, title

View = Literal["rendered", "pretty", "exact"]
VIEWS: tuple[View, ...] = ("rendered", "pretty", "exact")
#: What the views are called.
NAMES = {
    "rendered": N_("laid out"),
    "pretty": N_("raw, on several lines"),
    "exact": N_("raw, as it stands"),
}
#: Characters of a record on one page, and of the longest one that is laid out.
PAGE = 20_000
LAID_OUT = 2_000_000
#: Characters of a data: address that stand for what it holds.
_LONGEST_ADDRESS = 120

Places = Callable[[str], Sequence[tuple[int, int]]]
_TWO = (("chosen", "rejected"), ("preferred_output", "non_preferred_output"))


def nowhere(_text: str) -> Sequence[tuple[int, int]]:
    """Where nothing is searched for."""
    return ()


@dataclass(frozen=True)
class Marks:
    """Where the text that is searched for stands, and the sign before each such place."""

    places: Places = nowhere
    sign: str = "»"

    def of(self, text: str, style: str = "") -> Content:
        """`text`, harmless already, with its places marked by sign and style."""
        found = self.places(text)
        if not found:
            return Content.styled(text, style) if style else Content(text)
        parts: list[Part] = []
        at = 0
        for begin, end in found:
            parts += [(text[at:begin], style), (self.sign, "bold")]
            parts.append((text[begin:end], "bold reverse"))
            at = end
        return Content.assemble(*parts, (text[at:], style))

    def within(self, text: str) -> Content:
        """The same by style alone: the text is shown as it stands."""
        shown = Content(text)
        for begin, end in self.places(text):
            shown = shown.stylize("bold reverse", begin, end)
        return shown

    def over(self, content: Content) -> Content:
        """A text that has its styles, with the places marked."""
        parts: list[Content] = []
        at = 0
        for begin, end in self.places(content.plain):
            parts += [content[at:begin], Content.styled(self.sign, "bold")]
            parts.append(content[begin:end].stylize("bold reverse"))
            at = end
        return Content.assemble(*parts, content[at:])


def record_text(
    text: str, view: View, width: int, marks: Marks, around: tuple[str, str] = ("", "")
) -> Content:
    """The record in one of the views, for `width` cells. `around` is what the file has before and
    after it in its line: as it stands that is shown, too, and no sign stands in it."""
    if view == "exact" or len(text) > LAID_OUT:
        return marks.within(visible(text.join(around))) + "\n"
    value = parsed(text)
    if value is None:
        return marks.of(visible_lines(text)) + "\n"
    if view == "pretty":
        pretty = json.dumps(value, ensure_ascii=False, indent=2)
        return marks.of(visible_lines(pretty)) + "\n"
    return Content.assemble(*_rendered(value, width, marks))


def parsed(text: str) -> Any:
    """The record where it is JSON that can be laid out with all that is in it, else None."""
    try:
        value = json.loads(text, object_pairs_hook=_once)
        json.dumps(value)  # what nests deeper than this machine goes can't be laid out
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _once(found: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a name that stands there twice one value would not be shown. Raises ValueError."""
    made = dict(found)
    if len(made) < len(found):
        raise ValueError("a name stands there twice")
    return made


def page_of(content: Content, page: int) -> tuple[Content, int]:
    """One page (from 0) of a text, and how many there are; pages end with a line where one does."""
    plain = content.plain
    begin, pages, found = 0, 0, (0, len(plain))
    while begin < len(plain) or not pages:
        end = min(len(plain), begin + PAGE)
        if end < len(plain):
            feed = plain.rfind("\n", begin + PAGE // 2, end)
            end = feed + 1 if feed >= 0 else end
        if pages <= page:
            found = (begin, end)
        begin, pages = end, pages + 1
    return content[found[0] : found[1]], pages


def _rendered(record: Mapping[str, Any], width: int, marks: Marks) -> list[Part]:
    parts: list[Part] = []
    simple: list[tuple[str, str]] = []
    done: set[str] = set()
    for name, value in record.items():
        pair = next((two for two in _TWO if name in two and set(two) <= record.keys()), None)
        if name in done:
            continue
        if pair:
            done.update(pair)
            parts += _two(record, pair, width, marks)
        elif name == "input" and isinstance(value, dict) and _are_messages(value.get("messages")):
            parts += _rendered(value, width, marks)
        elif name in ("tools", "functions") and isinstance(value, list) and value:
            parts += _tools(name, value, marks)
        elif _are_messages(value):
            parts += [*title(visible(name)), *_messages(value, marks)]
        elif isinstance(value, str):
            parts += [*title(visible(name)), marks.of(visible_lines(value)), "\n"]
        else:
            simple.append((visible(name), json.dumps(value, ensure_ascii=False)))
    if simple:
        parts += ["\n", *pairs(simple)]
    return parts


def _two(record: Mapping[str, Any], pair: tuple[str, str], width: int, marks: Marks) -> list[Part]:
    """The better and the worse answer: beside each other where there is room."""
    better, worse = (
        Content.assemble((f"{sign} {visible(name)}", "bold"), "\n", *_said(record[name], marks))
        for sign, name in zip("+-", pair, strict=True)
    )
    if width >= LEAST:
        return ["\n", beside(better, worse, width), "\n"]
    return ["\n", better, "\n", worse]


def _said(value: Any, marks: Marks) -> list[Part]:
    if _are_messages(value):
        return _messages(value, marks)
    return [*_content(value, marks), "\n"]


def _are_messages(value: Any) -> bool:
    return bool(value) and isinstance(value, list) and all(_is_message(each) for each in value)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str)


def _messages(messages: Iterable[Mapping[str, Any]], marks: Marks) -> list[Part]:
    parts: list[Part] = []
    for each in messages:
        head = [visible(str(each[name])) for name in ("name", "tool_call_id") if name in each]
        if "weight" in each:
            told = _("weight {weight}").format(weight=visible(json.dumps(each["weight"])))
            head.append(told + (", " + _("not trained on") if each["weight"] == 0 else ""))
        parts += [(visible(each["role"]), "bold $accent"), ("  ".join(["", *head]), "dim"), "\n"]
        if each.get("content") is not None:
            parts += [*_content(each["content"], marks), "\n"]
        for call in _calls(each):
            parts += [marks.of(visible(call)), "\n"]
        known = ("role", "content", "name", "tool_call_id", "weight", "tool_calls", "function_call")
        rest = [(visible(name), each[name]) for name in each if name not in known]
        parts += pairs((name, json.dumps(value, ensure_ascii=False)) for name, value in rest)
    return parts


def _calls(message: Mapping[str, Any]) -> Iterable[str]:
    """The tools that the assistant asks for, each as a call."""
    calls = message.get("tool_calls")
    found = list(calls) if isinstance(calls, list) else ([calls] if calls else [])
    if message.get("function_call"):
        found.append({"function": message["function_call"]})
    for each in found:
        function = each.get("function") if isinstance(each, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            asked = function.get("arguments", "")
            asked = asked if isinstance(asked, str) else json.dumps(asked, ensure_ascii=False)
            ident = f"  {each['id']}" if each.get("id") else ""
            yield f"-> {function['name']}({asked}){ident}"
        else:
            yield f"-> {json.dumps(each, ensure_ascii=False)}"


def _content(content: Any, marks: Marks) -> list[Part]:
    """What is said: text, or parts of text, images, sound and files."""
    if isinstance(content, str):
        return [marks.of(visible_lines(content))]
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        return [marks.of(visible(json.dumps(content, ensure_ascii=False)))]
    lines: list[Content] = []
    for each in content:
        if isinstance(each.get("text"), str) and set(each) <= {"type", "text"}:
            lines.append(marks.of(visible_lines(each["text"])))
        else:
            lines.append(Content.styled(_named(each), "italic"))
    return [Content("\n").join(lines)]


def _named(part: Mapping[str, Any]) -> str:
    """An image, a sound or a file by its address; of one that is written into the record, its kind
    and how long it is."""
    kind = str(part.get("type") or "?")
    value = part.get(kind, {name: each for name, each in part.items() if name != "type"})
    if isinstance(value, dict) and isinstance(value.get("url"), str):
        rest = {name: each for name, each in value.items() if name != "url"}
        value, more = value["url"], f"  {json.dumps(rest, ensure_ascii=False)}" if rest else ""
    else:
        more = ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if text.startswith("data:") and len(text) > _LONGEST_ADDRESS:
        text = _("{beginning}, {n} characters: v shows them").format(
            beginning=text.partition(",")[0][:_LONGEST_ADDRESS], n=number(len(text))
        )
    return visible(f"[{kind}] {text}{more}")


def _tools(name: str, tools: Sequence[Any], marks: Marks) -> list[Part]:
    parts: list[Part] = title(visible(name), number(len(tools)))
    for each in tools:
        function = each.get("function", each) if isinstance(each, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            parts += [marks.of(visible(json.dumps(each, ensure_ascii=False))), "\n"]
            continue
        parts.append((visible(function["name"]), "bold"))
        if isinstance(function.get("description"), str):
            parts += ["  ", marks.of(visible(function["description"]))]
        parts.append("\n")
        rest = {key: value for key, value in function.items() if key not in _TOLD_OF_TOOLS}
        if rest:
            parts.append((f"  {visible(json.dumps(rest, ensure_ascii=False))}\n", "dim"))
    return parts


_TOLD_OF_TOOLS = ("name", "description")
