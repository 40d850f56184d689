"""Models of the Hugging Face hub: safetensors, config and tokenizer files, never code, never pickles.

The hub is asked in a process of its own: HF_HUB_OFFLINE is read once when huggingface_hub is imported, and an image
may have set it for everything else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ketools.core.errors import ModelError
from ketools.models.directory import PICKLED, SETTINGS, read_json, without_code

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
WANTED = re.compile(
    r"config\.json|generation_config\.json|tokenizer[A-Za-z_]*\.json|tokenizer\.model|vocab\.json|merges\.txt"
    r"|special_tokens_map\.json|added_tokens\.json|chat_template\.(json|jinja)|LICEN[CS]E[A-Za-z.]*"
    r"|model\.safetensors|model\.safetensors\.index\.json|model-\d+-of-\d+\.safetensors"
)
DOWNLOAD_S = 6 * 3600


@dataclass(frozen=True)
class Listing:
    """What is fetched of a repository at a commit. `size`: bytes."""

    repository: str
    commit: str
    licence: str
    size: int
    files: tuple[str, ...]


def look_up(repository: str) -> Listing:
    """What there is to fetch of a repository. Raises `ModelError` when it is unreachable, unknown or unsafe."""
    found = _ask({"repository": repository})
    return Listing(**{**found, "files": tuple(found["files"])})


def download(listing: Listing, folder: Path) -> None:
    """Fetch the files into a folder and leave out what names code. Raises `ModelError`."""
    _ask({"listing": asdict(listing), "folder": str(folder)})
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub client's notes about its downloads
    for file in (folder / name for name in SETTINGS):
        if file.is_file():
            settings = read_json(file)
            file.write_text(json.dumps(without_code(settings), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _ask(wish: dict[str, Any]) -> dict[str, Any]:
    """The answer of `main` in another process."""
    environment = {key: value for key, value in os.environ.items() if key not in OFFLINE}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ketools.models.hub"],
            input=json.dumps(wish),
            stdout=subprocess.PIPE,
            text=True,
            timeout=DOWNLOAD_S,
            env=environment,
        )
        answer = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise ModelError(f"The hub could not be asked ({error}). Run the command again.") from error
    if "error" in answer:
        raise ModelError(answer["error"])
    return dict(answer)


def _listing(repository: str) -> dict[str, Any]:
    from huggingface_hub import HfApi

    info = HfApi().model_info(repository, files_metadata=True)
    files = {file.rfilename: file.size or 0 for file in info.siblings or [] if WANTED.fullmatch(file.rfilename)}
    _require_safetensors(repository, files, [file.rfilename for file in info.siblings or []])
    licence = getattr(info.card_data, "license", None) or "not stated"
    return asdict(Listing(repository, info.sha or "main", str(licence), sum(files.values()), tuple(files)))


def _require_safetensors(repository: str, wanted: Iterable[str], all_files: Iterable[str]) -> None:
    if any(name.endswith(".safetensors") for name in wanted):
        return
    pickled = next((name for name in all_files if name.endswith(PICKLED)), None)
    gguf = next((name for name in all_files if name.endswith(".gguf")), None)
    if gguf:
        raise ModelError(f"{repository} holds GGUF files only; fetch one ({gguf}) and run: ketools model get FILE.gguf")
    why = f" but pickled ones ({pickled}), which can run code when they are loaded" if pickled else ""
    raise ModelError(f"{repository} has no safetensors weights{why}. Choose a repository that has safetensors.")


def _download(listing: dict[str, Any], folder: str) -> None:
    from huggingface_hub import hf_hub_download

    for name in listing["files"]:
        hf_hub_download(listing["repository"], name, revision=listing["commit"], local_dir=folder)


def _explained(repository: str, error: Exception) -> str:
    """What went wrong, and what to do, by the kind of the hub's error."""
    kind, address = type(error).__name__, f"https://huggingface.co/{repository}"
    if kind == "GatedRepoError":
        return f"{repository} is gated. Accept its terms at {address}, put your token into HF_TOKEN, and run it again."
    if kind == "RepositoryNotFoundError":
        return f"The hub has no public model {repository}. Check the name; for a private one put a token into HF_TOKEN."
    if "No space left" in str(error):
        return "The disk is full. Free some space, or choose another home (--home DIRECTORY), and run it again."
    first = (str(error).strip().splitlines() or [kind])[0][:300]
    return (
        f"{repository} cannot be fetched from the Hugging Face hub ({kind}: {first}). Check the network (HF_ENDPOINT "
        f"names another address), or copy the files of {address} from another machine and name their directory: "
        "--model DIRECTORY"
    )


def main() -> None:
    """Read a wish from stdin, do it, write the answer to stdout: both JSON."""
    wish = json.loads(sys.stdin.read())
    if not sys.stderr.isatty():
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    repository = wish.get("repository") or wish["listing"]["repository"]
    try:
        answer = _listing(repository) if "repository" in wish else {}
        if "listing" in wish:
            _download(wish["listing"], wish["folder"])
    except ModelError as error:
        answer = {"error": str(error)}
    except Exception as error:  # whatever the hub's client raises is told in words
        answer = {"error": _explained(repository, error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
