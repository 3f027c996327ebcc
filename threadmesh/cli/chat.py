"""`threadmesh chat`: a conversation in the terminal."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TextIO

from rich.console import Console

from threadmesh.cli.answers import (
    AnswerText,
    Ended,
    FacadeClient,
    Piece,
    Question,
    Thinking,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from threadmesh.cli.locate import Located
from threadmesh.cli.output import one_line, printable, stderr
from threadmesh.errors import MeshError

HELP = """\
/tools none|all|NAME,...   which tools of the mesh the model may call
/call auto|required|NAME   whether it must, or which one
/new                       forget the conversation (a thread is left, not deleted)
/quit                      leave; so does Ctrl-D. Ctrl-C stops an answer."""


@dataclass(slots=True, kw_only=True)
class Conversation:
    """What was said so far, and how to ask.

    With a thread the mesh remembers and only new messages are sent; without one everything is sent every time.
    """

    template: Question
    system: str = ""
    said: list[dict[str, str]] = field(default_factory=list)

    def question(self, text: str) -> Question:
        """Give the request that says `text`."""
        instructions = [{"role": "system", "content": self.system}] if self.system else []
        asked = {"role": "user", "content": text}
        if self.template.thread_key:
            return replace(self.template, messages=(*(instructions if not self.said else []), asked))
        return replace(self.template, messages=(*instructions, *self.said, asked))

    def remember(self, text: str, answer: str) -> None:
        """Keep a turn that has ended."""
        self.said += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]


class Screen:
    """Shows an answer as it comes: its text on `out`, everything else on the console of notices."""

    def __init__(self, out: TextIO, notices: Console) -> None:
        self._out = out
        self._notices = notices
        self._at_line_start = True

    def show(self, piece: Piece) -> None:
        """Show one piece."""
        match piece:
            case AnswerText(text=text):
                self._write(text)
            case Thinking(text=text):
                self._notices.print(printable(text), end="", style="dim italic", markup=False)
            case Ended(reason="length"):
                self._note("(cut off at the token limit)")
            case Ended():
                pass
            case _:
                self._note(tool_line(piece))

    def end(self, notice: str = "") -> None:
        """End the answer's last line, and say how it ended where that needs a word."""
        if not self._at_line_start:
            self._write("\n")
        if notice:
            self._note(notice)

    def _write(self, text: str) -> None:
        shown = printable(text)
        self._out.write(shown)
        self._out.flush()
        if shown:
            self._at_line_start = shown.endswith("\n")

    def _note(self, line: str) -> None:
        if not self._at_line_start and self._out.isatty():
            self._write("\n")
        self._notices.print(line, style="dim", markup=False)


def tool_line(piece: ToolStarted | ToolProgress | ToolFinished) -> str:
    """Write what happens to a tool call as one line."""
    match piece:
        case ToolStarted(name=name, arguments=arguments):
            return f"→ {name} {one_line(arguments, limit=200)}"
        case ToolProgress(name=name, progress=progress, total=total, message=message):
            share = f"{progress:g}/{total:g}" if total else f"{progress:g}"
            return f"… {name} {share} {one_line(message, limit=120)}".rstrip()
        case ToolFinished(name=name, outcome=outcome, output=output, seconds=seconds):
            mark = "✓" if outcome == "succeeded" else "✗"
            return f"{mark} {name} {outcome} after {seconds:.2f} s: {one_line(output, limit=300)}"


def chat(located: Located, template: Question, *, system: str, text: str) -> None:
    """Ask `text` and end, or, where it is empty, converse; raises a `MeshError` when there is no answer to `text`."""
    client = FacadeClient(located.url, key=located.key)
    conversation = Conversation(template=template, system=system)
    if text:
        ask(client, conversation.question(text), Screen(sys.stdout, stderr()))
    else:
        converse(client, conversation)


def ask(client: FacadeClient, question: Question, screen: Screen) -> str:
    """Show the answer to one question; gives its text. Ctrl-C stops it and raises `KeyboardInterrupt`."""
    answer: list[str] = []
    try:
        with client.ask(question) as pieces:
            for piece in pieces:
                screen.show(piece)
                if isinstance(piece, AnswerText):
                    answer.append(piece.text)
    except (KeyboardInterrupt, MeshError):
        screen.end()
        raise
    screen.end()
    return "".join(answer)


def converse(client: FacadeClient, conversation: Conversation, *, read: Callable[[str], str] = input) -> None:
    """Ask and answer until the person leaves; an error ends the answer, not the conversation."""
    with suppress(ImportError):
        import_module("readline")  # lets `input` edit lines and go back to earlier ones
    screen, notices = Screen(sys.stdout, stderr()), stderr()
    notices.print("Ask something; /help shows the commands, Ctrl-D leaves.", style="dim")
    while (text := _next(read)) is not None:
        if text.startswith("/"):
            if not _command(text, conversation, notices):
                return
        elif text:
            _turn(client, conversation, text, screen)


def _next(read: Callable[[str], str]) -> str | None:
    """Read the next line; Ctrl-C clears it, the end of the input gives None."""
    try:
        return read("> ").strip()
    except KeyboardInterrupt:
        sys.stdout.write("\n")
        return ""
    except EOFError:
        sys.stdout.write("\n")
        return None


def _turn(client: FacadeClient, conversation: Conversation, text: str, screen: Screen) -> None:
    try:
        conversation.remember(text, ask(client, conversation.question(text), screen))
    except KeyboardInterrupt:
        screen.end("(stopped)")
    except MeshError as error:
        screen.end(f"error: {error.message}")


def _command(text: str, conversation: Conversation, notices: Console) -> bool:
    """Do what a line with a slash says; gives False to leave."""
    name, _, value = text.partition(" ")
    match name, value.strip():
        case (("/quit" | "/exit"), _):
            return False
        case "/tools", tools if tools and tools.isascii():
            conversation.template = replace(conversation.template, tools=tools)
        case "/call", choice if choice:
            conversation.template = replace(conversation.template, tool_choice=choice)
        case "/new", _:
            conversation.said.clear()
            conversation.template = replace(conversation.template, thread_key="")
        case _:
            notices.print(HELP, style="dim", markup=False)
    return True
