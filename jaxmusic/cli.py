"""What every script does around its own work: errors as one sentence and an exit code."""

import os
import signal
import sys
import threading
from collections.abc import Callable

from jaxmusic.distributed.signals import Stopped, exit_code_of, raise_terminated, signal_of
from jaxmusic.errors import UserError, is_shortage, reason_of
from jaxmusic.runtime.limits import LimitError, Minimum, check_limits
from jaxmusic.runtime.printable import printable
from jaxmusic.runtime.streams import OutputClosed, guarded_streams, open_missing_streams

DONE, FAILED = 0, 1
NOBODY_READS = 128 + 13  # what shells show of a program that SIGPIPE ended
# What the RuntimeErrors of JAX, of C++ libraries and of our kernel say.
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "std::bad_alloc", "no memory for")
ONCE_MORE_SECONDS = 0.1  # after which a signal that was lost comes again


def begin(minimum: Minimum) -> None:
    """What a script does first, before it imports what is heavy: streams, and the system's limits.

    Ends the script with a sentence where it may have less than the minimum.
    """
    open_missing_streams()
    try:
        check_limits(minimum)
    except LimitError as error:
        print(f"Error: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)


def run_script(main: Callable[[], None]) -> int:
    """Run a script's main function; the exit code for what it raised.

    A user's mistake is told in its one sentence, without a traceback: 2 for wrong usage, 1 for
    what failed. Stopping with all saved gives 75 (SIGTERM) or 130 (Ctrl-C). When nobody reads its
    output any more (`| head`) it ends without a word, unless that is optional.
    """
    signal.signal(signal.SIGTERM, raise_terminated)
    sys.unraisablehook = _where_nothing_can_be_raised
    with guarded_streams():
        try:
            return _exit_code(main)
        except OutputClosed:
            return NOBODY_READS


def _exit_code(main: Callable[[], None]) -> int:
    try:
        main()
        sys.stdout.flush()
    except Stopped as stopped:
        return stopped.exit_code
    except KeyboardInterrupt as interrupt:  # Terminated too
        return exit_code_of(signal_of(type(interrupt)))
    except UserError as error:
        print(f"Error: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a vanished folder, a file where a folder belongs
        print(f"Error: {printable(_what_to_do(error))}", file=sys.stderr)
        return FAILED
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error) and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        print(f"Error: {printable(_out_of_memory(error))}", file=sys.stderr)
        return FAILED
    return DONE


def _out_of_memory(error: Exception) -> str:
    """NumPy and JAX say how much they asked for, Python doesn't."""
    words = str(error).split("\n")[0].split(": ")[-1][:200].rstrip(".")
    return (
        f"There is too little memory for this{f' ({words})' if words else ''}: give smaller sizes, "
        "of the batch, the network or the music to be made."
    )


def _what_to_do(error: OSError) -> str:
    """A sentence of the system's words, which know no more than the file."""
    remedy = "Mend that"
    if isinstance(error, FileNotFoundError):
        remedy = "See that it is there"
    elif isinstance(error, PermissionError):
        remedy = "See that you may read and write it"
    elif isinstance(error, FileExistsError | IsADirectoryError | NotADirectoryError):
        remedy = "Give another path, or move away what is in its place"
    named = isinstance(error.filename, str | os.PathLike)
    name = f"{printable(error.filename)} can't be used: " if named else ""
    return f"{name}{reason_of(error)}. {remedy}, and start the same command again."


def _where_nothing_can_be_raised(unraisable: "sys.UnraisableHookArgs") -> None:
    """What Python would print of an exception that it can't pass on, and then forget."""
    error = unraisable.exc_type
    if issubclass(error, KeyboardInterrupt):
        # A signal came in the midst of a callback, as JAX has one for each garbage collection.
        threading.Timer(ONCE_MORE_SECONDS, os.kill, (os.getpid(), signal_of(error))).start()
    # When a checkpoint can't be written, TensorStore's threads go on to tell a loop that has ended.
    # The error itself is told in its sentence.
    elif str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)
