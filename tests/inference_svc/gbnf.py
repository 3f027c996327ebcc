"""Speaks grammars: gives random sentences of a GBNF, so that what it admits can be checked."""

import re
from random import Random

TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | (?P<literal>"(?:[^"\\]|\\.)*") | (?P<chars>\[(?:[^\]\\]|\\.)*\]) | (?P<mark>[()|?*+])
    | \{(?P<times>[0-9]+(?:,[0-9]*)?)\} | (?P<name>[A-Za-z][A-Za-z0-9-]*)""",
    re.VERBOSE | re.DOTALL,
)
ESCAPE = re.compile(r"\\(U[0-9A-Fa-f]{8}|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|.)", re.DOTALL)
MORE = 3
DEEP = 40

Token = tuple[str, str]


class Speaker:
    """Draws sentences of one grammar; the deeper it is, the sooner it takes the shortest way out."""

    def __init__(self, gbnf: str, random: Random) -> None:
        self.random = random
        self.rules = dict(line.split(" ::= ", 1) for line in gbnf.strip().splitlines())
        self.parsed = {name: list(tokens(body)) for name, body in self.rules.items()}

    def sentence(self) -> str:
        return self.speak("root", 0)

    def speak(self, name: str, depth: int) -> str:
        text, at = self.either(self.parsed[name], 0, depth + 1)
        assert at == len(self.parsed[name]), f"{name} was not read to its end"
        return text

    def either(self, body: list[Token], at: int, depth: int) -> tuple[str, int]:
        """Draw one of several alternatives, and give where they end."""
        places = [at]
        end = skip(body, at, until=("|", ")"))
        while end < len(body) and body[end] == ("mark", "|"):
            places.append(end + 1)
            end = skip(body, end + 1, until=("|", ")"))
        chosen = places[-1] if depth > DEEP else self.random.choice(places)
        return self.sequence(body, chosen, depth), end

    def sequence(self, body: list[Token], at: int, depth: int) -> str:
        said = []
        while at < len(body) and body[at] not in (("mark", "|"), ("mark", ")")):
            end = skip_one(body, at)
            least, most, after = times(body, end)
            count = least if depth > DEEP else self.random.randint(least, most)
            said += [self.one(body, at, depth) for _ in range(count)]
            at = after
        return "".join(said)

    def one(self, body: list[Token], at: int, depth: int) -> str:
        kind, text = body[at]
        if kind == "literal":
            return unescaped(text[1:-1])
        if kind == "chars":
            return self.character(text[1:-1])
        if kind == "name":
            return self.speak(text, depth)
        return self.either(body, at + 1, depth + 1)[0]

    def character(self, written: str) -> str:
        ranges = re.findall(r"(\\U[0-9A-Fa-f]{8}|\\?.)(?:-(\\U[0-9A-Fa-f]{8}|\\?.))?", written, re.DOTALL)
        low, high = self.random.choice(ranges)
        first, last = ord(unescaped(low)), ord(unescaped(high or low))
        return chr(self.random.randint(first, last))


def tokens(body: str) -> list[Token]:
    found, at = [], 0
    while at < len(body):
        match = TOKEN.match(body, at)
        assert match, f"this is no GBNF: {body[at : at + 40]!r}"
        found += [(kind, text) for kind, text in match.groupdict().items() if text is not None]
        at = match.end()
    return found


def skip_one(body: list[Token], at: int) -> int:
    return skip(body, at + 1, until=(")",)) + 1 if body[at] == ("mark", "(") else at + 1


def skip(body: list[Token], at: int, *, until: tuple[str, ...]) -> int:
    while at < len(body) and not (body[at][0] == "mark" and body[at][1] in until):
        at = skip_one(body, at)
    return at


def times(body: list[Token], at: int) -> tuple[int, int, int]:
    kind, text = body[at] if at < len(body) else ("", "")
    if kind == "times":
        least, _, most = text.partition(",")
        upper = int(most) if most else int(least) if "," not in text else int(least) + MORE
        return int(least), min(upper, int(least) + MORE), at + 1
    if kind == "mark" and text in "?*+":
        return (1 if text == "+" else 0), (1 if text == "?" else MORE), at + 1
    return 1, 1, at


def unescaped(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) > 1:
            return chr(int(code[1:], 16))
        return {"n": "\n", "r": "\r", "t": "\t"}.get(code, code)

    return ESCAPE.sub(plain, text)
