"""Handlers of log files. A log that can't be written never puts a traceback on a terminal."""

import contextlib
import logging
import os
import sys
from logging.handlers import RotatingFileHandler

from sophia_tui.i18n import _


class LogFile(logging.FileHandler):
    """A file whose full disk is told once, in one line on stderr; what else fails is a defect."""

    _told = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # the file could not be opened
            self.handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written before can't be now
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:
        problem = sys.exception()
        if not isinstance(problem, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            why = os.strerror(problem.errno) if problem.errno else type(problem).__name__
            told = _("The log {path} can't be written: {why}.").format(
                path=self.baseFilename, why=why
            )
            sys.stderr.write(told + "\n")


class RotatingLogFile(LogFile, RotatingFileHandler):
    """A file that is put aside when it is large."""
