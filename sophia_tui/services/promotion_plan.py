"""The plan of a promotion or of a way back: which keys change in which file, what restarts."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui import envfile
from sophia_tui.domain.context import Context
from sophia_tui.domain.managed import MODEL_KEYS
from sophia_tui.domain.models import FileChange, Promotion, PromotionState
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import ConflictError, NotFoundError, UsageError
from sophia_tui.i18n import _
from sophia_tui.services.managed_env import ManagedEnv, content_hash, planned, refers_to

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

#: Keys that name what training starts from: never a use of the model in production.
BASE_KEYS = frozenset({"FINETUNE_BASE", "AION_LORA_BASE"})
_PAGE = 100
#: Completed: its files were written and stayed so until something newer.
_COMPLETED = (PromotionState.DONE, PromotionState.ROLLED_BACK)


@dataclass(frozen=True)
class WayBack:
    """Where a way back leads: `undone` are the promotions that no longer count, newest first, and
    `base` the one whose state it returns to, where that is named."""

    undone: tuple[Promotion, ...]
    model: str | None
    base: Promotion | None = None
    notes: dict[str, Any] = field(default_factory=dict)


class Planner:
    """Reads what is there and says what would change; writes nothing. `place` is where this Sophia
    is (host and data folder): nobody else finishes what she begins."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        env: ManagedEnv,
        clock: Clock,
        place: dict[str, str],
    ) -> None:
        self._store = store
        self._settings = settings
        self._env = env
        self._clock = clock
        self._place = place

    async def files(self, given: Sequence[str]) -> tuple[Path, ...]:
        """The env files to write. Raises UsageError P001, PromotionError P068."""
        if given:
            root = self._settings.root
            files = tuple((root / Path(each).expanduser()).absolute() for each in given)
        else:
            files = (*self._settings.managed_files, *await self._env.to_promote())
        if not files:
            raise UsageError(
                "P001",
                _("There is no env file to promote into."),
                _("SOPHIA_MANAGED_ENV_FILES names none, none is declared, and none was given."),
                _(
                    "Set SOPHIA_MANAGED_ENV_FILES, declare one (`sophia env declare`), or give "
                    "--env-file FILE."
                ),
            )
        # the same file by its name and by a link is one file
        return tuple({os.path.realpath(each): each for each in reversed(files)}.values())[::-1]

    async def forward(
        self, model_id: str, files: tuple[Path, ...], replaces: Sequence[str] = ()
    ) -> tuple[FileChange, ...]:
        """What changes in each file: what names the model in production, and every key that names
        one of `replaces`. Raises ConflictError P003 where nothing would change."""
        found = {path: await self._env.read(path) for path in files}
        parsed = {path: envfile.values(text) for path, text in found.items()}
        previous = {
            values[key]
            for values in parsed.values()
            for key in MODEL_KEYS
            if values.get(key) and not refers_to(values[key], values)
        } | set(replaces)
        # what is replaced now, or was before, is a use: then the usual keys need not be added
        uses = {*replaces, model_id} if replaces else set()
        nobody = not any(
            key in MODEL_KEYS or (key not in BASE_KEYS and value in uses)
            for values in parsed.values()
            for key, value in values.items()
        )
        changes = []
        for number, path in enumerate(files):
            values = parsed[path]
            keys = [
                key
                for key, value in values.items()
                if key not in BASE_KEYS
                and (key in MODEL_KEYS or value in previous)
                and not refers_to(value, values)
            ]
            if nobody and number == 0:
                keys = list(MODEL_KEYS)
            after: dict[str, str | None] = {
                key: model_id for key in keys if values.get(key) != model_id
            }
            if after:
                before = {key: values.get(key) for key in after}
                changes.append(planned(path, found[path], before, after))
                new = envfile.change(found[path], after)
                await self._env.checked(path, new.encode("utf-8"))
        if not changes:
            raise ConflictError(
                "P003",
                _("{model} is in production already.").format(model=model_id),
                _("No managed env file would change."),
            )
        return tuple(changes)

    # -- the way back

    async def one_back(self, promotion_id: str | None) -> WayBack:
        """Takes one promotion back, by default the newest in force. Raises NotFoundError P404,
        P405, ConflictError P007."""
        found = await (self._newest() if promotion_id is None else self.known(promotion_id))
        if found.state is not PromotionState.DONE:
            raise _not_to_take_back(found)
        return WayBack((found,), found.previous_model)

    async def back_to(self, promotion_id: str) -> WayBack:
        """Returns to the state that this promotion left behind. Raises NotFoundError P405,
        ConflictError P007."""
        base = await self._completed(promotion_id)
        return WayBack(await self._since(base), base.model_id, base, {"to": base.id})

    async def back_before(self, promotion_id: str) -> WayBack:
        """Returns to the state that this promotion found. Raises NotFoundError P405, ConflictError
        P007."""
        first = await self._completed(promotion_id)
        undone = (*await self._since(first), first)
        return WayBack(undone, first.previous_model, None, {"before": first.id})

    async def back(self, way: WayBack) -> tuple[FileChange, ...]:
        """What changes in each file. Raises ConflictError P004 where a key was changed by somebody
        else, P084 where nothing would change."""
        paths = dict.fromkeys(each.path for one in way.undone for each in one.changes)
        if way.base is not None:
            paths |= dict.fromkeys(each.path for each in way.base.changes)
        changes = [await self._back_of(path, way) for path in paths]
        found = tuple(each for each in changes if each is not None)
        if not found:
            raise ConflictError(
                "P084",
                _("There is nothing to take back."),
                _("The env files are as they were then."),
            )
        return found

    async def _back_of(self, path: str, way: WayBack) -> FileChange | None:
        mine = [each for one in way.undone for each in one.changes if each.path == path]
        base = (
            next((each for each in way.base.changes if each.path == path), None)
            if way.base
            else None
        )
        wanted: dict[str, str | None] = {}
        expected: dict[str, str | None] = dict(base.after) if base else {}
        for each in mine:  # newest first: what the oldest one found is what should be again
            wanted |= each.before
        for each in reversed(mine):
            expected |= each.after
        wanted |= base.after if base else {}
        text = await self._env.read(Path(path))
        values = envfile.values(text)
        for key, value in expected.items():
            if values.get(key) != value:
                raise ConflictError(
                    "P004",
                    _("{key} in {path} was changed since.").format(key=key, path=path),
                    _("It no longer names the model that the promotion wrote."),
                    _("Promote the model you want, or set the key back by hand."),
                )
        after = {key: value for key, value in wanted.items() if values.get(key) != value}
        if not after:
            return None
        before = {key: values.get(key) for key in after}
        kept = _kept(mine, content_hash(text.encode("utf-8")))
        return planned(Path(path), text, before, after, restores=kept)

    async def _newest(self) -> Promotion:
        for each in await self._store.promotions.page(_PAGE):
            if each.state is PromotionState.DONE and each.rolls_back is None:
                return each
        raise NotFoundError("P404", _("There is no promotion to take back."))

    async def known(self, promotion_id: str) -> Promotion:
        """Raises NotFoundError P405."""
        found = await self._store.promotions.get(promotion_id)
        if found is None:
            raise NotFoundError(
                "P405",
                _("There is no promotion {id}.").format(id=promotion_id),
                remedy=_("`sophia promote history` lists them."),
            )
        return found

    async def _completed(self, promotion_id: str) -> Promotion:
        found = await self.known(promotion_id)
        if found.state not in _COMPLETED:
            raise _not_to_take_back(found)
        return found

    async def _since(self, base: Promotion) -> tuple[Promotion, ...]:
        """Everything completed after it, ways back too, newest first."""
        newer: list[Promotion] = []
        while page := await self._store.promotions.page(_PAGE, len(newer)):
            for each in page:
                if each.id == base.id:
                    return tuple(one for one in newer if one.state in _COMPLETED)
                newer.append(each)
        raise NotFoundError(
            "P405",
            _("There is no promotion {id}.").format(id=base.id),
            remedy=_("`sophia promote history` lists them."),
        )

    # -- the row

    async def draft(
        self, context: Context, model_id: str, changes: tuple[FileChange, ...], **notes: Any
    ) -> Promotion:
        """The promotion as it would be recorded."""
        units = await self._env.units(changes)
        declared = await self._env.elsewhere(changes)
        elsewhere = dict.fromkeys((*declared, *self._settings.units_elsewhere))
        named = [change.before.get(key) for key in MODEL_KEYS for change in changes]
        # with none of these keys, the first that names a model says which one it was
        named += [each for change in changes for each in change.before.values()]
        notes |= {"units": list(units)} if units else {}
        notes |= {"elsewhere": [{"unit": each} for each in elsewhere]} if elsewhere else {}
        return Promotion(
            id=f"promotion-{secrets.token_hex(6)}",
            model_id=model_id,
            previous_model=next((each for each in named if each), None),
            state=PromotionState.PENDING,
            changes=changes,
            created_by=context.actor,
            created_at=self._clock.now(),
            notes={**notes, "place": self._place},
        )


def _not_to_take_back(found: Promotion) -> ConflictError:
    return ConflictError(
        "P007",
        _("The promotion {id} can't be taken back.").format(id=found.id),
        _("Its state is {state}.").format(state=_(found.state.value)),
    )


def _kept(mine: Sequence[FileChange], now: str) -> str | None:
    """The snapshot that is the file byte for byte as it should be again: where nobody changed it
    between these changes, newest first, nor since."""
    for each in mine:
        if each.after_hash != now:
            return None
        now = each.before_hash
    kept = mine[-1].snapshot if mine else None
    return kept if kept is not None and os.path.isfile(kept) else None
