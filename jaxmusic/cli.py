"""The command `jaxmusic`, and what surrounds every command: system checks, errors, exit codes.

A command is a module with `main(program, arguments)`. Modules are imported only when their command
runs, after the streams and the system's limits have been checked.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from jaxmusic.config import ConfigError
from jaxmusic.distributed.signals import Stopped, exit_code_of, raise_terminated, signal_of
from jaxmusic.errors import UserError, is_shortage, reason_of
from jaxmusic.runtime.limits import GENERATING, PREPARING, TRAINING, Minimum, check_limits
from jaxmusic.runtime.printable import printable
from jaxmusic.runtime.streams import OutputClosed, guarded_streams, open_missing_streams

DONE, FAILED = 0, 1
BROKEN_PIPE = 128 + 13  # what shells report for a program that SIGPIPE ended
# In the RuntimeErrors of JAX, of C++ libraries and of our kernel.
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "std::bad_alloc", "no memory for")
RESEND_SECONDS = 0.1  # until a signal whose exception was lost is sent again


@dataclass(frozen=True)
class Command:
    """A command of `jaxmusic`: the module of its name in jaxmusic.commands."""

    summary: str
    minimum: Minimum


COMMANDS = {
    "prepare": Command("turn a folder of MIDI files into a corpus, or inspect one", PREPARING),
    "train": Command("train a network, or resume a run", TRAINING),
    "generate": Command("generate music with a trained run", GENERATING),
    "evaluate": Command("measure a trained run and its music beside held-out songs", GENERATING),
    "benchmark": Command("measure training, scaling, reading, preparing and generating", TRAINING),
    "compile_tpu": Command("compile the training program for TPUs, without a TPU", TRAINING),
}


def main() -> int:
    """Run the command that the first word names; return the exit code."""
    first, *rest = sys.argv[1:] or [""]
    if first in COMMANDS:
        return run_command(first, f"jaxmusic {first}", rest)
    open_missing_streams()
    return run_script(lambda: _answer(first))


def run_command(name: str, program: str, arguments: Sequence[str]) -> int:
    """Run a command of `jaxmusic`; `program` is its name in help texts."""
    return run_module(
        f"jaxmusic.commands.{name}", COMMANDS[name].minimum, program=program, arguments=arguments
    )


def run_module(module: str, minimum: Minimum, *, program: str, arguments: Sequence[str]) -> int:
    """Check the system, import a module, run its `main`; return the exit code."""
    open_missing_streams()

    def check_and_run() -> None:
        check_limits(minimum)
        import_module(module).main(program, arguments)

    return run_script(check_and_run)


def run_script(main: Callable[[], None]) -> int:
    """Run a main function; return the exit code for what it raised.

    A UserError is printed as its one sentence, without a traceback: 2 for wrong usage, 1 for a
    failure. A stop after which all is saved gives 75 (SIGTERM) or 130 (Ctrl-C). When the reader of
    the output is gone (`| head`) and the output is not optional, the program ends silently.
    """
    signal.signal(signal.SIGTERM, raise_terminated)
    sys.unraisablehook = _handle_unraisable
    with guarded_streams():
        try:
            return _exit_code(main)
        except OutputClosed:
            return BROKEN_PIPE


def _answer(first: str) -> None:
    """Answer a command line that names no command."""
    names = ", ".join(COMMANDS)
    if first in ("-h", "--help"):
        print("usage: jaxmusic COMMAND [arguments]\n\ncommands:")
        for name, command in COMMANDS.items():
            print(f"  {name:12s} {command.summary}")
        print("\n`jaxmusic COMMAND --help` explains the arguments of a command.")
    elif first == "--version":
        from importlib.metadata import version  # noqa: PLC0415 (no other command needs it)

        print(f"jaxmusic {version('jaxmusic')}")
    elif first:
        raise ConfigError(f"There is no command {first}: give one of {names}.")
    else:
        raise ConfigError(f"The command is missing: give one of {names}, or --help.")


def _exit_code(main: Callable[[], None]) -> int:
    try:
        main()
        sys.stdout.flush()
    except Stopped as stopped:
        return stopped.exit_code
    except KeyboardInterrupt as interrupt:  # Terminated is one too
        return exit_code_of(signal_of(type(interrupt)))
    except UserError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:  # a vanished folder, a file where a folder belongs
        return _fail(_system_error(error))
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error) and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        return _fail(_out_of_memory(error))
    return DONE


def _fail(sentence: str, exit_code: int = FAILED) -> int:
    print(f"Error: {printable(sentence)}", file=sys.stderr)
    return exit_code


def _out_of_memory(error: Exception) -> str:
    """A sentence with the size of the request, which NumPy and JAX give and Python doesn't."""
    words = str(error).split("\n")[0].split(": ")[-1][:200].rstrip(".")
    return (
        f"There is too little memory for this{f' ({words})' if words else ''}: give smaller sizes, "
        "of the batch, the network or the music to generate."
    )


def _system_error(error: OSError) -> str:
    """A sentence of the system's message, with what to do."""
    remedy = "Fix that"
    if isinstance(error, FileNotFoundError):
        remedy = "See that it is there"
    elif isinstance(error, PermissionError):
        remedy = "See that you may read and write it"
    elif isinstance(error, FileExistsError | IsADirectoryError | NotADirectoryError):
        remedy = "Give another path, or move away what is in its place"
    named = isinstance(error.filename, str | os.PathLike)
    name = f"{printable(error.filename)} can't be used: " if named else ""
    return f"{name}{reason_of(error)}. {remedy}, and start the same command again."


def _handle_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Handle an exception in a callback, which Python would print and drop."""
    error = unraisable.exc_type
    if issubclass(error, KeyboardInterrupt):
        # A signal arrived inside a callback, such as JAX's for each garbage collection.
        threading.Timer(RESEND_SECONDS, os.kill, (os.getpid(), signal_of(error))).start()
    # When a checkpoint can't be written, TensorStore's threads still call an event loop that has
    # ended. The error itself is reported as a sentence.
    elif str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)
