"""Policies on the Hugging Face Hub: `hf:owner/name`, or `hf:owner/name@revision` of one version.

The repository's files lie as in a run directory. Which token is sent, if any, huggingface_hub finds by itself; nothing
here touches it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sacbrax.core.errors import one_line
from sacbrax.policy_file.numpy_policy import PolicyFileError

PREFIX = "hf:"
POLICY = "checkpoints/best_policy.npz"
T = TypeVar("T")


def fetch(source: str) -> Path:
    """The policy file of `hf:owner/name[@revision]`, kept in huggingface_hub's cache. Raises PolicyFileError."""
    name, revision = split(source)
    return asked(source, lambda hub: Path(hub.hf_hub_download(name, POLICY, revision=revision)))


def split(source: str) -> tuple[str, str | None]:
    """`owner/name` and the revision, None for the newest, of a source with or without the prefix. Raises
    PolicyFileError."""
    name, _, revision = source.removeprefix(PREFIX).partition("@")
    if name.count("/") != 1 or not all(name.split("/")):
        prefix = PREFIX if source.startswith(PREFIX) else ""
        raise PolicyFileError(f"{source}: expected {prefix}OWNER/NAME or {prefix}OWNER/NAME@REVISION")
    return name, revision or None


def asked(what: str, question: Callable[[Any], T]) -> T:
    """The answer to a question to huggingface_hub; its failures are one line, PolicyFileError."""
    try:
        import huggingface_hub
    except ImportError:
        raise PolicyFileError("hub: huggingface_hub is not installed; pip install 'sacbrax[hub]'") from None
    try:
        return question(huggingface_hub)
    except huggingface_hub.errors.RepositoryNotFoundError:
        raise PolicyFileError(f"{what}: there is no such repository, or it is not shown without a token") from None
    except huggingface_hub.errors.LocalEntryNotFoundError as error:  # of the same family as a file that is not there
        raise PolicyFileError(f"{what}: cannot be reached, and is not in the cache: {one_line(error)}") from None
    except huggingface_hub.errors.EntryNotFoundError:
        raise PolicyFileError(f"{what}: the repository has no {POLICY}") from None
    except (
        OSError,
        ValueError,
        RuntimeError,
        huggingface_hub.errors.HTTPError,
    ) as error:  # of the network, of names, of what it is missing
        raise PolicyFileError(f"{what}: {one_line(error)}") from None
