"""What each screen shows, for its help page, and the commands that tell the same."""

from dataclasses import dataclass

from sophia_tui.i18n import N_


@dataclass(frozen=True)
class Page:
    """`about` is for people; `twins` are operations, each a command with --json and --plain."""

    about: tuple[str, ...]
    twins: tuple[str, ...] = ()


PAGES = {
    "overview": Page(
        (
            N_("Where the loop stands: six stages, each with its figure, its age or its limit."),
            N_("Beside each stands the digit of its screen; below it what is in its way."),
            N_("Then what runs, models and until when they answer, what happened since you left."),
            N_("The last line is the next sensible step; enter takes it."),
            N_("Signs: ✓ or + good, ! look at it, ✗ or x a problem, · or - nothing yet."),
        ),
        ("overview.show",),
    ),
    "setup": Page(
        (
            N_("What is set up, what is missing, and what to do about each."),
            N_("a runs the step of the installer, or opens the command, that mends what is shown."),
            N_("Then the tables of your own database, column by column; they are only read."),
            N_("/ looks for a check by any text of its line."),
            N_("It looks again every 30 seconds; r looks at once and asks the provider too."),
        ),
        ("setup.check", "setup.apply", "source.inspect"),
    ),
    "environment": Page(
        (
            N_("Every key that Sophia reads, and what else stands in its env file."),
            N_("Secrets are masked; a value is checked as it is typed and written whole."),
        ),
        ("settings.list",),
    ),
    "value": Page((N_("One key of the env file. F2 writes it; the file is kept as it was too."),)),
    "wizard": Page(
        (
            N_("The first set-up. Each answer is tried out; the last page shows what is written."),
            N_("F4 leaves it, w on Set-up takes it up again; secrets have to be typed anew."),
        ),
        ("setup.test", "setup.begin"),
    ),
    "step": Page(
        (
            N_("What a step of the installer writes, line by line."),
            N_("esc goes back and stops nothing; o on Set-up comes back here."),
        ),
        ("setup.apply",),
    ),
    "datasets": Page(
        (
            N_("The versions of your training data. A version never changes."),
            N_("Rows in = rows kept + rows rejected, always; what was rejected is listed."),
            N_("Each record leads back to the row of your database that it comes from."),
            N_("i inspects the files that a version is made of; b looks into the version itself."),
        ),
        (
            "datasets.list",
            "datasets.show",
            "datasets.rejected",
            "datasets.rows",
            "train.preview",
            "prepare.inspect",
            "prepare.versions",
            "prepare.diff",
        ),
    ),
    "inspection": Page(
        (
            N_("What the files hold and what is wrong with them, line by line; nothing changes."),
            N_("An error keeps a record from being used; a warning wants a look; a note is odd."),
            N_("b looks into the file, or at the first record with the issue."),
        ),
        ("prepare.inspect", "prepare.issues"),
    ),
    "browser": Page(
        (
            N_("Records of a file of any size, each with what is wrong with it."),
            N_("~ before a line: estimated. x reads the file once and keeps an index of it."),
            N_("v shows a record laid out, raw on several lines, or raw as it stands."),
            N_("Search finds text however JSON writes it; F6 (or re:) makes it a pattern."),
            N_("f and h go to the next hit and back, round the end; » stands before each."),
            N_("* before issues: edited. Edits lie beside the file until they are saved."),
        ),
        ("prepare.browse", "prepare.search", "prepare.edit", "prepare.undo", "prepare.save"),
    ),
    "editor": Page(
        (
            N_(
                "One record as JSON, checked as you type. F3 shows what would change, word by word."
            ),
            N_("F2 takes it over; what would be of no use only at the second press."),
            N_("What you typed and did not take over is kept as a draft."),
        ),
        ("prepare.edit",),
    ),
    "jobs": Page(
        (
            N_("Trainings and evaluations. They go on without the console, and without SSH."),
            N_("The line is the loss of the training, as a mean of its noise where that is said."),
            N_("Single signs are that on the held-out part; the filled one, or @, is the best."),
            N_("v shows other figures. l turns to the log, i to the settings, e to other kinds."),
            N_("/ in events or log keeps lines with a text, or re: and an expression; h holds"),
            N_("them still. / in the list takes plain text."),
            N_("f finds, and goes on to older hits; g goes to newer ones; home reads on upwards."),
            N_("Mark jobs with space; x compares them. Alone, it is with the one looked at."),
            N_("In a wide window the job under the cursor is shown beside the list."),
        ),
        (
            "jobs.list",
            "jobs.queue",
            "jobs.show",
            "jobs.events",
            "jobs.log",
            "jobs.curve",
            "jobs.settings",
            "jobs.compare",
            "jobs.watch",
            "train.checklist",
        ),
    ),
    "job_compare": Page(
        (
            N_("Each job has a letter, in the curves and in the table."),
            N_("v turns to the other loss, x to steps, examples, tokens or time along the bottom."),
            N_("The table has that in which they differ; a adds what is the same."),
        ),
        ("jobs.compare",),
    ),
    "models": Page(
        (
            N_("What training made and what production uses: before and after, by measure."),
            N_(
                "An answer leads to its model, the job, the data set and the rows of your database."
            ),
            N_(
                "A state is a person's word: approved, conditional until a day, rejected, retired;"
                " its reason stays."
            ),
            N_(
                "Mark two models with space to compare them. Promotion asks for the name typed,"
                " and has a way back."
            ),
        ),
        (
            "models.list",
            "models.show",
            "models.lineage",
            "models.history",
            "models.production",
            "evaluate.show",
            "evaluate.compare",
            "models.gate",
            "promote.history",
            "serve.list",
        ),
    ),
    "monitor": Page(
        (
            N_("What served models did: requests, errors, times, tokens; never a word of them."),
            N_(
                "How people judged the answers, by day; and what this version does not measure yet."
            ),
            N_("p turns through periods, m through the models, one by one; esc shows all again."),
        ),
        ("monitor.show", "serve.list"),
    ),
    "review": Page(
        (
            N_("The place where people will judge conversations; this version has none of it."),
            N_("Its keys lead to what there is meanwhile of people's judgement and of answers."),
        ),
        ("monitor.show", "datasets.list", "prepare.browse", "evaluate.compare", "serve.ask"),
    ),
    "settings": Page(
        (
            N_("Every setting in force and where it comes from; secrets are never shown."),
            N_("Those that Sophia keeps are changed here, others in the environment or the .env."),
        ),
        ("settings.list", "settings.set", "settings.unset"),
    ),
    "audit": Page(
        (
            N_("Who did what, when, and from which face: every change, and every refusal."),
            N_("Newest first; / filters by any text of a line."),
        ),
        ("audit.list",),
    ),
    "calendar": Page(
        (
            N_("Until when each model answers that an env file names, and whose date that is."),
            N_("The way off one goes step by step; the same key goes on where it stands."),
        ),
        ("models.calendar", "models.succeed", "models.succession"),
    ),
    "schedules": Page(
        (
            N_("What runs by the calendar, as the person who made the schedule."),
            N_("Change one by its form, which opens filled in; the worker keeps the times."),
        ),
        ("schedules.list", "schedules.add", "schedules.change"),
    ),
    "form": Page(
        (
            N_("What an operation needs. The command line for the same stands above the buttons."),
            N_("What you type is checked as you type, and kept as a draft; secrets are not kept."),
            N_("An empty field shows what counts then. right takes the name that is offered."),
        )
    ),
    "result": Page((N_("What an operation answered; y copies it and w saves it as JSON."),)),
    "changes": Page(
        (
            N_("What cleaning changes or changed: all of it, then change by change with n and p."),
            N_("Between [- and -] stands what left; t goes to the next step, b to its line."),
        ),
        ("prepare.preview", "prepare.diff"),
    ),
    "preview": Page(
        (N_("Records as the training sees them: what is marked is learnt, the rest is read."),),
        ("train.preview",),
    ),
    "typed": Page(
        (
            N_("What a person types in a shell for what the screen beneath shows and can do."),
            N_("enter copies the marked line; it runs nothing."),
        )
    ),
    "drafts": Page(
        (
            N_("Forms that hold what you typed and did not run; enter goes on with one."),
            N_("A secret is never kept: it has to be typed anew."),
        )
    ),
    "help": Page((N_("Help to the screen beneath; esc leads back to it."),)),
}


#: The way through the loop: each operation, and the screen that it is begun on, by a key of its own
#: where the screen alone does not show it.
ROAD = (
    ("setup.check", "setup", N_("See what is set up and what is missing.")),
    ("collect.run", "datasets", N_("Export questions, answers and feedback.")),
    ("prepare.run", "datasets", N_("Prepare a data set version from them.")),
    ("train.start", "datasets", N_("Train on the version that is marked.")),
    ("jobs.watch", "jobs", N_("Watch the training; it needs no console.")),
    ("evaluate.run", "models", N_("Evaluate the model that came of it.")),
    ("evaluate.compare", "models", N_("Compare two models, marked with space.")),
    ("serve.model", "models", N_("Serve the model, so that it answers.")),
    ("models.parity", "models", N_("Check that its forms answer alike.")),
    ("models.gate", "models", N_("Let the gate measure what it lacks.")),
    ("promote.run", "models", N_("Promote it: production uses it from then on.")),
    ("promote.rollback", "models", N_("Roll back: the model before it comes back.")),
    ("monitor.show", "monitor", N_("See how the answers do in use.")),
)


def page_of(scopes: tuple[str, ...]) -> Page:
    """The page of a screen, by its most special scope that has one."""
    return next((PAGES[each] for each in reversed(scopes) if each in PAGES), Page(()))
