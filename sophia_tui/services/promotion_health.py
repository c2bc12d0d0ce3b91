"""The health check of a promotion: units, health addresses, golden prompts, all within a limit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.models import Promotion
from sophia_tui.domain.promotions import (
    GoldenPrompt,
    Outside,
    quantile,
    read_named_urls,
    read_promotion_bounds,
)
from sophia_tui.errors import PromotionError, SophiaError, UsageError
from sophia_tui.i18n import _, ngettext, number
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.promotion_probe import Place, Probing
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

#: Long enough for a sentence, short enough for a model on a processor.
_ANSWER_TOKENS = 32
_MOST_PROMPTS = 200
_MOST_BYTES = 1 << 20
_DEFAULT_ADDRESS = "https://api.openai.com/v1"
_LOOK_SECONDS = 10.0
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Asked:
    """What a promotion asks for: golden prompts at all, by which bounds, and whether they decide.
    For the way back they are told: it must not depend on how well the earlier model does. Blindly:
    where no key or no address is known to ask with, nobody is asked, which is told."""

    golden: bool = True
    bounds: str | None = None
    decides: bool = True
    blindly: bool = False


@dataclass
class _Figures:
    """Answers to golden prompts, without their texts."""

    asked: int = 0
    seconds: list[float] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)


class HealthCheck:
    """Looks whether what was promoted works; a look that hangs has failed after its limit."""

    def __init__(
        self, env: ManagedEnv, settings: "Settings", outside: Outside, probing: Probing
    ) -> None:
        self._env = env
        self._settings = settings
        self._outside = outside
        self._probing = probing

    def planned(self, units: Sequence[str], promotion: Promotion, asked: Asked) -> list[str]:
        """The checks as a plan names them. Raises UsageError P078, P079."""
        told = [_("{unit} stays up.").format(unit=unit) for unit in units]
        told += [
            _("{url} answers.").format(url=visible(url)) for url in self._urls(units, promotion)
        ]
        if asked.golden and any(filter(None, _names(promotion))):
            bounds = self._bounds(asked)
            told.append(
                ngettext(
                    "{count} golden prompt is answered ({bounds}).",
                    "{count} golden prompts are answered ({bounds}).",
                    len(self.prompts()),
                ).format(
                    count=number(len(self.prompts())),
                    bounds=", ".join(f"{name} < {value:g}" for name, value in bounds.items())
                    or _("no bounds"),
                )
            )
        told.append(
            _("All of it within {seconds} s.").format(
                seconds=number(self._settings.promotion_health_seconds)
            )
        )
        return told

    def prompts(self) -> tuple[GoldenPrompt, ...]:
        """The golden prompts in force. Raises UsageError P078."""
        return read_prompts(self._settings.golden_file)

    async def check(
        self, promotion: Promotion, units: Sequence[str], asked: Asked
    ) -> dict[str, Any]:
        """The figures. Raises PromotionError P072, P073, P074, P075, and what asking raises."""
        from asyncio import timeout

        limit = self._settings.promotion_health_seconds
        doing = [_("units")]
        try:
            async with timeout(limit):
                await self._units(units)
                for url in self._urls(units, promotion):
                    doing.append(visible(url))
                    await self._answers(url, doing)
                if not asked.golden:
                    return {}
                doing.append(_("golden prompts"))
                return await self._golden(promotion, asked)
        except TimeoutError:
            raise PromotionError(
                "P075",
                _("The health check did not end within {seconds} s: {what}.").format(
                    seconds=number(limit), what=doing[-1]
                ),
                remedy=_("SOPHIA_PROMOTION_HEALTH_SECONDS is its limit."),
            ) from None

    async def _units(self, units: Sequence[str]) -> None:
        down = await self._env.not_up(units)
        if down:
            raise PromotionError(
                "P072",
                _("{unit} is not up: {state}.").format(unit=down[0].unit, state=down[0].state),
                down[0].detail,
                _("See `journalctl -u {unit}`.").format(unit=down[0].unit),
            )

    def _urls(self, units: Sequence[str], promotion: Promotion) -> list[str]:
        of_it = {"", *units, *(each.path for each in promotion.changes)}
        every = read_named_urls(self._settings.promotion_health_urls)
        return list(dict.fromkeys(url for name, url in every if name in of_it))

    async def _answers(self, url: str, doing: list[str]) -> None:
        """A service needs a moment after its restart: ask until it answers, or the time is up."""
        from asyncio import sleep

        while why := await self._outside.look(url, _LOOK_SECONDS):
            doing.append(f"{visible(url)}: {why}")
            await sleep(_PAUSE_SECONDS)

    # -- golden prompts

    async def _golden(self, promotion: Promotion, asked: Asked) -> dict[str, Any]:
        prompts, bounds = self.prompts(), self._bounds(asked)
        try:
            places = await self._probing.places(promotion.changes)
        except UsageError:
            if not asked.blindly:
                raise
            return {}
        found = _Figures()
        for place in places:
            for prompt in prompts:
                await self._ask(place, prompt, found)
        told = _told(found, len(prompts), bounds)
        broken = told["broken"]
        if broken and asked.decides:
            first = found.failed[0] if found.failed else None
            raise PromotionError(
                "P074",
                _("The golden prompts were not passed: {why}.").format(why="; ".join(broken)),
                _("“{question}”: {why}").format(**first) if first else "",
                _("SOPHIA_GOLDEN_PROMPTS and SOPHIA_PROMOTION_BOUNDS say what must hold."),
                golden=told,
            )
        return told

    async def _ask(self, place: Place, prompt: GoldenPrompt, found: _Figures) -> None:
        from asyncio import timeout

        from finetune.grading import is_right

        found.asked += 1
        question = visible(prompt.question)[:80]
        seconds = self._settings.probe_seconds
        try:
            async with timeout(seconds):
                answer = await self._outside.answer(
                    place.base_url or _DEFAULT_ADDRESS,
                    place.api_key,
                    place.name,
                    prompt.question,
                    _ANSWER_TOKENS,
                    seconds,
                )
        except TimeoutError:
            why = _("No answer came within {seconds} seconds.").format(seconds=f"{seconds:g}")
            found.failed.append({"question": question, "why": why})
            return
        except SophiaError as problem:
            why = f"{problem.what} {problem.why}".strip()
            found.failed.append({"question": question, "why": why})
            return
        found.seconds.append(answer.seconds)
        if not answer.text.strip():
            found.failed.append({"question": question, "why": _("the answer is empty")})
        elif prompt.accepted and not is_right(answer.text, prompt.accepted):
            why = _("no accepted text stands in the answer")
            found.failed.append({"question": question, "why": why})

    def _bounds(self, asked: Asked) -> dict[str, float]:
        """Raises UsageError P079."""
        try:
            return read_promotion_bounds(
                self._settings.promotion_bounds if asked.bounds is None else asked.bounds
            )
        except ValueError as problem:
            raise UsageError(
                "P079",
                _("The bounds of the golden prompts can't be read."),
                visible(str(problem)),
                _("must be parts like median<2, p95<3 or errors<0.01, each name once"),
            ) from None


def health_notes(promotion: Promotion) -> list[str]:
    """What people read of the health check when the promotion is done."""
    golden = promotion.notes.get("golden")
    if not golden or not golden["asked"]:
        return []
    told = _("Golden prompts: {right} of {asked} passed, median {median} s, p95 {p95} s.").format(
        right=number(golden["asked"] - golden["failed"]),
        asked=number(golden["asked"]),
        median=_seconds(golden["median"]),
        p95=_seconds(golden["p95"]),
    )
    broken = [_("Not kept: {what}.").format(what=each) for each in golden["broken"]]
    return [told, *broken]


def read_prompts(path: Path | None) -> tuple[GoldenPrompt, ...]:
    """Golden prompts of a file, or Sophia's own. Raises UsageError P078 with the line."""
    try:
        if path is None:
            text = (resources.files("sophia_tui") / "data" / "golden_prompts.jsonl").read_text(
                "utf-8"
            )
        elif path.stat().st_size > _MOST_BYTES:
            raise _unreadable(path, _("It is larger than {limit} bytes.").format(limit=_MOST_BYTES))
        else:
            text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise _unreadable(
            path, getattr(problem, "strerror", None) or type(problem).__name__
        ) from problem
    found = []
    for line, raw in enumerate(text.splitlines(), start=1):
        if raw.strip():
            prompt = _prompt(raw)
            if prompt is None:
                raise _unreadable(
                    path,
                    _("Line {line}: {why}").format(
                        line=line,
                        why=_(
                            "Each line is an object with `question` and, where it matters, "
                            "`accepted`, a list of texts of which one must stand in the answer."
                        ),
                    ),
                )
            found.append(prompt)
    if not 0 < len(found) <= _MOST_PROMPTS:
        raise _unreadable(
            path,
            ngettext("It has {n} prompt.", "It has {n} prompts.", len(found)).format(n=len(found)),
        )
    return tuple(found)


def _prompt(raw: str) -> GoldenPrompt | None:
    try:
        plain: Any = json.loads(raw)
        question, accepted = plain["question"], plain.get("accepted", [])
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
    texts = [question, *accepted] if isinstance(accepted, list) else [None]
    if not all(isinstance(each, str) and each.strip() for each in texts):
        return None
    return GoldenPrompt(question, tuple(accepted))


def _told(found: _Figures, prompts: int, bounds: Mapping[str, float]) -> dict[str, Any]:
    """Figures, and the bounds that they break, in words."""
    figures: dict[str, float | None] = {
        "median": quantile(found.seconds, 0.5),
        "p95": quantile(found.seconds, 0.95),
        "errors": len(found.failed) / found.asked if found.asked else None,
    }
    broken = [
        f"{name} {value:.3g}, {_('must be below')} {bounds[name]:g}"
        for name, value in figures.items()
        if value is not None and name in bounds and value >= bounds[name]
    ]
    if found.asked and not found.seconds:
        broken.append(_("no question was answered"))
    return {
        **figures,
        "prompts": prompts,
        "asked": found.asked,
        "failed": len(found.failed),
        "failures": found.failed[:20],
        "bounds": dict(bounds),
        "broken": broken,
    }


def _names(promotion: Promotion) -> list[str | None]:
    return [name for each in promotion.changes for name in each.after.values()]


def _seconds(value: float | None) -> str:
    return "-" if value is None else number(value, 2)


def _unreadable(path: Path | None, why: str) -> UsageError:
    return UsageError(
        "P078",
        _("The golden prompts can't be read: {path}.").format(path=path or "golden_prompts.jsonl"),
        why,
        _("Correct the file, or unset SOPHIA_GOLDEN_PROMPTS for Sophia's own."),
    )
