"""Are an encoder's pretrained weights to be had? Asked before hours of work that need them, answered in seconds."""

import threading
from pathlib import Path

import huggingface_hub
import timm

from cspine.errors import InputError
from cspine.networks.checkpoints import not_safetensors
from cspine.settings.networks import ClassifierSettings

ANSWER_S = 4.0
"""How long the hub has to answer; a machine without a network lets a download wait for minutes."""
FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of a model's weights on the hub, in the order in which timm looks for them."""


def check_encoder_weights(settings: ClassifierSettings, weights: str = "") -> None:
    """Refuse an encoder whose pretrained weights can't be had: neither given, nor here, nor on a hub that answers.

    Nothing is downloaded. With `weights` the file is looked at; without `pretrained` there is nothing to ask.

    Parameters
    ----------
    settings : ClassifierSettings
        Name of the encoder, and whether it starts from timm's weights.
    weights : str
        A file with timm's weights of this encoder, for machines without a network.

    Raises
    ------
    InputError
        Within `ANSWER_S`, with what to do about it; for a file that holds no safetensors.
    """
    if weights:
        _check_file(Path(weights))
    if weights or not settings.pretrained:
        return
    try:
        known = timm.get_pretrained_cfg(settings.encoder)
    except RuntimeError:
        known = None
    model = known.hf_hub_id if known is not None else None
    if known is None or model is None:
        return  # no such encoder, as timm tells when it is made
    names = (known.hf_hub_filename,) if known.hf_hub_filename else FILES
    if any(isinstance(huggingface_hub.try_to_load_from_cache(model, name), str) for name in names):
        return
    answer = [f"the hub did not answer within {ANSWER_S:g} s"]

    def ask() -> None:
        for name in names:
            try:
                huggingface_hub.get_hf_file_metadata(
                    huggingface_hub.hf_hub_url(model, name), timeout=ANSWER_S
                )
            except Exception as error:  # noqa: BLE001  # of whatever library the hub's client speaks through
                answer[0] = f"{error.__class__.__name__}: {str(error).partition(chr(10))[0][:120]}"
            else:
                answer[0] = ""
                return

    thread = threading.Thread(target=ask, daemon=True)  # a name that can't be resolved waits without a limit
    thread.start()
    thread.join(ANSWER_S)
    if answer[0]:
        raise no_weights(settings.encoder, answer[0])


def _check_file(path: Path) -> None:
    """Refuse what timm would take for a file of pickles, or fail at without a reason."""
    advice = "expected the model.safetensors of the encoder, as the Hugging Face hub has it"
    if not path.is_file():
        raise InputError(f"--encoder-weights {path}: no such file; {advice}")
    found = not_safetensors(path)
    if not found and path.suffix != ".safetensors":
        found = "safetensors under another name"
    if found:
        raise InputError(f"--encoder-weights {path}: found {found}; {advice}, with that ending")


def no_weights(encoder: str, reason: str) -> InputError:
    """Say that an encoder's pretrained weights can't be had, and what to do.

    Parameters
    ----------
    encoder : str
        timm's name of it.
    reason : str
        What happened.

    Returns
    -------
    InputError
        To be raised.
    """
    return InputError(
        f"encoder {encoder!r}: its pretrained weights could not be had ({reason}); either pass --encoder-weights FILE "
        f"(the model.safetensors of timm/{encoder} on the Hugging Face hub) or train from scratch with --no-pretrained"
    )
