"""What the processes of a training must have in common."""

import dataclasses
from typing import Any

from jaxmusic.config import Config
from jaxmusic.runtime.versions import package_versions, sources_digest
from jaxmusic.training.jax_settings import compile_settings

# Settings that may differ between processes.
OWN_SETTINGS = {"process_id", "midi_dir", "corpus", "run_dir", "workers", "compilation_cache"}


def common_settings(config: Config) -> dict[str, Any]:
    """What must be equal in all processes and is known before JAX starts, by its name."""
    settings = {
        name: value
        for part in dataclasses.asdict(config).values()
        for name, value in part.items()
        if name not in OWN_SETTINGS
    }
    versions = {f"the version of {name}": version for name, version in package_versions().items()}
    sources = {"the digest of jaxmusic's sources": sources_digest()}
    return settings | versions | sources | compile_settings()
