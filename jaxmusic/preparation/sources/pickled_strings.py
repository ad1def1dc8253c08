"""Reads a pickled list of strings without unpickling it, so no code in the file can run.

A pickle is a program for a stack machine, and may call anything. This machine knows the few opcodes
that build a list of strings, in all protocols (0 to 5), and refuses any other by name.

`pickle.Unpickler` with a `find_class` that refuses everything was tried with the same tests: it
runs no code either, but it doesn't bound memory. A file of 12 bytes with a large memo index makes
it allocate 4 GB; and it builds dicts, sets and numbers before anybody can refuse them.
"""

import pickletools  # names opcodes and reads their arguments; it runs nothing

_STRINGS = frozenset(
    {
        "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
        "STRING", "BINSTRING", "SHORT_BINSTRING",  # of Python 2
    }
)  # fmt: skip
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_NEWEST_PROTOCOL = 5

Value = str | list[str]


def read_pickled_strings(data: bytes) -> list[str]:
    """The list of strings that was pickled. Time and memory are proportional to its bytes.

    Raises ValueError with the reason for anything else.
    """
    machine = _Machine()
    for opcode, argument, offset in pickletools.genops(data):
        if opcode.name == "STOP":
            if offset is None or offset + 1 != len(data):
                raise ValueError("it goes on after its end")
            return machine.result()
        machine.do(opcode.name, argument)
    raise ValueError("it has no end")


class _Machine:
    """The stack, marks and memo that opcodes work on."""

    def __init__(self) -> None:
        self._stack: list[Value] = []
        self._marks: list[int] = []  # stack heights
        self._memo: dict[int, Value] = {}

    def do(self, name: str, argument: object) -> None:
        if name in _STRINGS and isinstance(argument, str):
            self._stack.append(argument)
        elif name in _GETS and isinstance(argument, int):
            if argument not in self._memo:
                raise ValueError(f"it reads memo {argument}, which it has not set")
            self._stack.append(self._memo[argument])
        elif name in _PUTS and isinstance(argument, int):
            self._memo[argument] = self._top()
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._top()
        elif name == "MARK":
            self._marks.append(len(self._stack))
        elif name == "EMPTY_LIST":
            self._stack.append([])
        elif name == "LIST":
            self._stack.append(self._pop_to_mark())
        elif name == "APPENDS":
            strings = self._pop_to_mark()
            self._top_list().extend(strings)
        elif name == "APPEND":
            (string,) = _strings_in([self._pop()])
            self._top_list().append(string)
        elif name == "PROTO" and isinstance(argument, int) and argument <= _NEWEST_PROTOCOL:
            pass
        elif name != "FRAME":
            raise ValueError(
                f"it holds the opcode {name}, and could run code: only a list of strings is read"
            )

    def result(self) -> list[str]:
        if len(self._stack) != 1 or self._marks or not isinstance(self._stack[0], list):
            raise ValueError("it is not a list of strings")
        return self._stack[0]

    def _top(self) -> Value:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise ValueError("it takes from an empty stack")
        return self._stack[-1]

    def _pop(self) -> Value:
        self._top()
        return self._stack.pop()

    def _top_list(self) -> list[str]:
        top = self._top()
        if not isinstance(top, list):
            raise ValueError("it appends to something that is not a list")
        return top

    def _pop_to_mark(self) -> list[str]:
        if not self._marks:
            raise ValueError("it lacks a mark")
        height = self._marks.pop()
        values = self._stack[height:]
        del self._stack[height:]
        return _strings_in(values)


def _strings_in(values: list[Value]) -> list[str]:
    strings = [value for value in values if isinstance(value, str)]
    if len(strings) < len(values):
        raise ValueError("it holds a list in a list: only a list of strings is read")
    return strings
