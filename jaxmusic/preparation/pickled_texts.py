"""A pickled list of texts, read without unpickling: nothing that such a file holds is run.

A pickle is a program for a machine with a stack, and may call anything. Here are the few of its
opcodes that make a list of texts, in all protocols (0 to 5); any other is refused.
"""

import pickletools  # names opcodes and reads their arguments; it runs nothing

_TEXTS = frozenset(
    {
        "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
        "STRING", "BINSTRING", "SHORT_BINSTRING",  # texts of Python 2
    }
)  # fmt: skip
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_NEWEST_PROTOCOL = 5

Value = str | list[str]


def read_pickled_texts(data: bytes) -> list[str]:
    """The list of texts that was pickled. Time and memory grow with the number of bytes alone.

    Raises ValueError with the reason when it is anything else.
    """
    machine = _Machine()
    for opcode, argument, position in pickletools.genops(data):
        if opcode.name == "STOP":
            if position is None or position + 1 != len(data):
                raise ValueError("it goes on after its end")
            return machine.result()
        machine.do(opcode.name, argument)
    raise ValueError("it has no end")


class _Machine:
    """What the opcodes work on."""

    def __init__(self) -> None:
        self._stack: list[Value] = []
        self._marks: list[int] = []  # heights of the stack
        self._memo: dict[int, Value] = {}

    def do(self, name: str, argument: object) -> None:
        if name in _TEXTS and isinstance(argument, str):
            self._stack.append(argument)
        elif name in _GETS and isinstance(argument, int):
            if argument not in self._memo:
                raise ValueError(f"it takes up what it has not kept (number {argument})")
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
            self._stack.append(self._texts_above_mark())
        elif name == "APPENDS":
            texts = self._texts_above_mark()
            self._top_list().extend(texts)
        elif name == "APPEND":
            (text,) = _only_texts([self._pop()])
            self._top_list().append(text)
        elif name == "PROTO" and isinstance(argument, int) and argument <= _NEWEST_PROTOCOL:
            pass
        elif name != "FRAME":
            raise ValueError(
                f"it holds the opcode {name}, and could run code: only a list of texts is read"
            )

    def result(self) -> list[str]:
        if len(self._stack) != 1 or self._marks or not isinstance(self._stack[0], list):
            raise ValueError("it is no list of texts")
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
            raise ValueError("it appends to what is no list")
        return top

    def _texts_above_mark(self) -> list[str]:
        if not self._marks:
            raise ValueError("it lacks a mark")
        height = self._marks.pop()
        values = self._stack[height:]
        del self._stack[height:]
        return _only_texts(values)


def _only_texts(values: list[Value]) -> list[str]:
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        raise ValueError("it holds a list in a list: only a list of texts is read")
    return texts
