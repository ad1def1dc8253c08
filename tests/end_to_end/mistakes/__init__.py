"""Every error that a user can cause: the command, its exit code, the sentence."""
