"""Every reason for which a record is not used, by its stable code, and how it is said to people."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sophia_tui.i18n import N_, _

REASONS: dict[str, str] = {
    # the line
    "not_utf8": N_("Not UTF-8 at byte {byte}."),
    "nul": N_("Holds a NUL character."),
    "too_long": N_("Longer than {limit} bytes."),
    "json": N_("Not valid JSON at character {column}."),
    "long_number": N_("Holds a number with too many digits."),
    "too_deep": N_("Nested too deeply."),
    "not_object": N_("Valid JSON, but not an object."),
    "duplicate_key": N_("A key occurs twice in one object."),
    "not_finite": N_("Holds NaN or Infinity, which JSON does not have."),
    "surrogate": N_("Holds half of a surrogate pair."),
    "copy_export": N_("Damaged by an export with COPY in text format, which doubles backslashes."),
    "copy_null": N_("The word for NULL of an export with COPY: the row was empty."),
    # question and answer
    "unknown_format": N_("A format not known to this version ({format})."),
    "no_question": N_("No question."),
    "no_answer": N_("No answer."),
    "question_type": N_("The question is not text."),
    "answer_type": N_("The answer is not text."),
    # instruction and output
    "no_instruction": N_("No instruction."),
    "no_output": N_("No output."),
    "instruction_type": N_("The instruction is not text."),
    "input_type": N_("The input is not text."),
    "output_type": N_("The output is not text."),
    # prompt and completion, input and output, events
    "no_prompt": N_("No prompt."),
    "prompt_type": N_("The prompt is neither text nor messages."),
    "no_completion": N_("No completion."),
    "completion_type": N_("The completion is neither text nor messages."),
    "no_input": N_("No input."),
    "system_type": N_("The system message is not text."),
    "history_type": N_("The history is not a list of pairs of texts."),
    "event_kind": N_("An event of another kind than answer."),
    "meta_type": N_("The event's meta is not an object."),
    "no_reply": N_("No reply."),
    # conversations
    "conversations_type": N_("The conversations are not a list."),
    # tables
    "columns": N_("Has {found} cells under a header of {wanted}."),
    "csv_syntax": N_("Not valid CSV: a quote stands where none may, or is never closed."),
    "cell_too_long": N_(
        "A cell, or what follows an open quote, is longer than {limit} characters."
    ),
    # constitutional examples
    "no_id": N_("No id."),
    "id_type": N_("The id is not text."),
    "same_id": N_("The id is that of line {first_line}."),
    "no_category": N_("No category."),
    "category_type": N_("The category is not text."),
    "prompt_short": N_("The prompt is shorter than {least} characters."),
    "no_response_initial": N_("No first answer (response_initial)."),
    "response_initial_type": N_("The first answer (response_initial) is not text."),
    "no_response_revised": N_("No revised answer."),
    "response_revised_type": N_("The revised answer is not text."),
    "revised_short": N_("The revised answer is shorter than {least} characters."),
    "revised_placeholder": N_("The revised answer holds {word}."),
    "no_critique": N_("No critique."),
    "critique_type": N_("The critique is not text."),
    "critique_lines": N_(
        "The critique is not three lines that begin with [VERITAS], [SOPHIA] and [DIKE]."
    ),
    "critique_mark": N_("The critique holds a mark that would end it early."),
    "no_reasoning": N_("No reasoning."),
    "reasoning_type": N_("The reasoning is not text."),
    "values": N_("values_applied names no value, or one that is not known."),
    "difficulty": N_("The difficulty is neither easy nor medium nor hard."),
    # chat
    "messages_type": N_("The messages are not a list."),
    "no_messages": N_("The list of messages is empty."),
    "message_type": N_("Message {message} is not an object."),
    "no_role": N_("Message {message} has no role."),
    "unknown_role": N_("Message {message} has a role that is not known."),
    "no_content": N_("Message {message} has no content."),
    "content_type": N_("The content of message {message} is not text."),
    "tool_calls": N_("Message {message} calls a tool, which this version can't keep."),
    "function_call": N_("Message {message} calls a function in the old form (function_call)."),
    "call_arguments": N_("The arguments of a call in message {message} are not a JSON object."),
    "unknown_call": N_("Message {message} answers a call that was not made before it."),
    "name_type": N_("The name in message {message} is not text."),
    "image_url": N_("An image in message {message} has no usable address."),
    "tools_type": N_("The tools offered can't be read."),
    "weight": N_("The weight of message {message} is neither 0 nor 1."),
    "weight_role": N_("Message {message} has a weight but is not the assistant's."),
    "no_assistant": N_("No message is the assistant's."),
    "last_not_assistant": N_("The last message is not the assistant's."),
    "nothing_to_learn": N_("Every message of the assistant has weight 0."),
    "special_token": N_("Message {message} holds a special token of chat templates."),
    # preference pairs
    "no_chosen": N_("No better answer."),
    "no_rejected": N_("No worse answer."),
    "pair_answer": N_("An answer of the pair is not one message of the assistant."),
    "pair_prompt": N_("The prompt of the pair ends with the assistant."),
    "pair_same": N_("Both answers of the pair are the same."),
    "pair_tools": N_("Offers tools, which this version can't keep."),
    "other_form": N_("A line of another form ({form}) than this data set is made of."),
    # what a hosted provider wants besides
    "bom": N_("Begins with a byte-order mark."),
    "crlf": N_("Ends with a carriage return."),
    "blank": N_("Is blank."),
    "call_type": N_("The tool calls of message {message} can't be read."),
    "no_call_id": N_("Message {message} is a tool's and does not say which call it answers."),
    "image_role": N_("Message {message} shows an image and is not the user's."),
    # written in another form
    "form_cant_hold": N_("The form {form} has no place for {what}."),
    # odd, and no harm
    "copy_end": N_("The end mark of an export with COPY: no row."),
    "record_fields": N_("Has fields that are left out."),
    "message_fields": N_("A message has fields that are left out."),
    "text_parts": N_("Texts of one message were joined."),
    "call_ids": N_("Calls of tools without id were given one."),
    # what should not be learnt
    "personal_data": N_("Holds personal data: {kinds}."),
    "secret": N_("Holds a key, a token or a password."),
    # worth a look
    "cut": N_("Longer than the {context} tokens that a model learns from: its end is cut."),
    "mixed_languages": N_("Asked in one language ({asked}), answered in another ({answered})."),
    # between records
    "duplicate": N_("The same as line {first_line} of {first_file}."),
    # variations
    "same_prompt": N_("Asks what another example asks."),
    "nearly_same": N_("Says nearly the same as another example."),
    "answer_cut": N_("The answer was cut at the most tokens."),
    "answer_refused": N_("The provider refused to answer."),
    "near_duplicate": N_("Nearly the same as line {first_line} of {first_file}, which is kept."),
    "leakage": N_("Stands in the evaluation set too: line {eval_line} of {eval_file}."),
    "balance": N_("More of its category than the balance allows."),
    # what a step of cleaning turns away
    "dropped": N_("Has an issue that is to be dropped ({issue})."),
    "not_kept": N_("Has none of the issues that are to be kept."),
    "few_characters": N_("Has {found} characters, fewer than {limit}."),
    "many_characters": N_("Has {found} characters, more than {limit}."),
    "few_turns": N_("Has {found} turns, fewer than {limit}."),
    "many_turns": N_("Has {found} turns, more than {limit}."),
    "few_tokens": N_("Has {found} tokens, fewer than {limit}."),
    "many_tokens": N_("Has {found} tokens, more than {limit}."),
    "other_language": N_("Is in another language ({language})."),
    "unknown_language": N_("Its language can't be told."),
    "judged_badly": N_("People judged it badly."),
    "not_judged_well": N_("Nobody judged it well."),
    # taken out later
    "forgotten": N_("Taken out at a person's request."),
}

Detail = str | int


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a record can't be used: a code of REASONS and what its sentence needs, never text of
    the record."""

    code: str
    details: Mapping[str, Detail] = field(default_factory=dict)


class Unusable(Exception):
    """Raised inside the engine for a record that can't be used."""

    def __init__(self, code: str, **details: Detail) -> None:
        super().__init__(code)
        self.problem = Problem(code, details)


def reason(code: str, details: Mapping[str, Detail] | None = None) -> str:
    """The sentence in English, as the files of a version hold it."""
    return _fill(REASONS.get(code, code), details)


def explain(code: str, details: Mapping[str, Detail] | None = None) -> str:
    """The sentence in the active language. An unknown code is shown as it is."""
    told = dict(details or {})
    for name in ("format", "form", "what"):  # the only details that are words of ours
        if name in told:
            told[name] = _(str(told[name]))
    return _fill(_(REASONS[code]), told) if code in REASONS else code


def summary(code: str) -> str:
    """The sentence in the active language for many records at once: their details left open."""
    if code == "duplicate":
        return _("The same as an earlier record.")
    return explain(code, {})


class _Open(dict[str, Detail]):
    def __missing__(self, key: str) -> str:
        return "…"


def _fill(template: str, details: Mapping[str, Detail] | None) -> str:
    return template.format_map(_Open(details or {}))
