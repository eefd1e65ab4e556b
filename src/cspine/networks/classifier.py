"""Is it broken? An encoder over slices, a sequence model over a vertebra, attention over the seven levels."""

import contextlib
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from cspine.competition.labels import LEVELS
from cspine.errors import InputError
from cspine.networks.encoder_weights import check_encoder_weights, no_weights
from cspine.networks.precision import autocast
from cspine.settings.networks import ClassifierSettings

INITIAL_SLICE_LOGIT = -4.0
"""A slice's logit before any training. Summed up over 15 slices and seven levels it answers 0.2 for a level
and 0.65 for the patient, about what the competition's rates ask for (0.04-0.33 and 0.65)."""


def make_encoder(settings: ClassifierSettings, channels: int, weights: str = "") -> nn.Module:
    """Make the timm encoder: (images, channels, y, x) -> (images, features).

    Parameters
    ----------
    settings : ClassifierSettings
        Name and options of the encoder, and whether it starts from timm's weights.
    channels : int
        Channels of its input.
    weights : str
        A file with timm's weights of this encoder, for machines without a network.

    Returns
    -------
    Module
        The encoder.

    Raises
    ------
    InputError
        For an unknown name and for pretrained weights that can't be had.
    """
    check_encoder_weights(settings, weights)
    options = dict(settings.encoder_options)
    if settings.drop_path:
        options["drop_path_rate"] = settings.drop_path
    if weights:
        options["pretrained_cfg_overlay"] = {"file": weights}
    try:
        return timm.create_model(
            settings.encoder, pretrained=settings.pretrained, in_chans=channels, num_classes=0, **options
        )
    except (
        RuntimeError,
        KeyError,
        TypeError,
    ) as error:  # unknown model, tag or option, or another encoder's weights
        reason = str(error).partition("\n")[0][:160] + (f", weights {weights}" if weights else "")
        raise InputError(
            f"encoder {settings.encoder!r}: timm can't make it ({reason}); see timm.list_models() and "
            "timm.list_pretrained()"
        ) from error
    except OSError as error:  # huggingface_hub's errors and a missing file are all OSErrors
        reason = f"{error.__class__.__name__}: {str(error).partition(chr(10))[0][:120]}"
        raise no_weights(settings.encoder, reason) from error


def encoder_input(images: Tensor, masks: Tensor) -> Tensor:
    """Make what the encoder sees of slices and their masks.

    Parameters
    ----------
    images : Tensor of uint8, shape (..., y, x, neighbours)
        Slices with their neighbours.
    masks : Tensor of uint8, shape (..., y, x)
        The slices' masks.

    Returns
    -------
    Tensor of float32, shape (images, neighbours + 1, y, x)
        In [-1, 1], the mask as the last channel.
    """
    pixels = torch.cat([images, masks[..., None]], dim=-1).flatten(0, -4)
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)  # in [-1, 1]


def _feature_count(encoder: nn.Module) -> int:
    """How many features a timm encoder gives for an image."""
    # Every timm model has this number; torch's types expect tensors and modules alone as attributes.
    return cast(int, encoder.num_features)


def _zero_init(head: nn.Linear) -> nn.Linear:
    """A head that says 0 until it has learnt something: what it is added to counts alone at first."""
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


class SliceNet(nn.Module):
    """The encoder alone with a linear head, for its training on single slices before the whole classifier's."""

    def __init__(self, settings: ClassifierSettings, channels: int, encoder_weights: str = ""):
        super().__init__()
        self.encoder = make_encoder(settings, channels, encoder_weights)
        self.head = nn.Linear(_feature_count(self.encoder), 1)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Give slices their logits.

        Parameters
        ----------
        images : Tensor of uint8, shape (batch, slices, y, x, neighbours)
            Slices with their neighbours.
        masks : Tensor of uint8, shape (batch, slices, y, x)
            The slices' masks.

        Returns
        -------
        Tensor of float, shape (batch, slices)
            Slice logits.
        """
        features = self.encoder(encoder_input(images, masks)).float()
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features).reshape(images.shape[:2])


class Classifier(nn.Module):
    """Seven vertebra stacks -> eight logits a study, and one logit a slice.

    It starts as what each slice alone says, a vertebra being broken if any of its slices is, and the patient if
    any vertebra is; the sequence, the attention and the view of all levels together are added to that as they
    learn. So nothing that the encoder knows from its own training is lost.

    Its logits are trained on the competition's weighted loss, so their sigmoid is the value to submit
    (2p / (1 + p) of the probability p), not the probability itself.
    """

    def __init__(self, settings: ClassifierSettings, channels: int, encoder_weights: str = ""):
        super().__init__()
        self.settings = settings
        self.encoder = make_encoder(settings, channels, encoder_weights)
        features, width = _feature_count(self.encoder), 2 * settings.hidden
        self.reduce = nn.Sequential(nn.LayerNorm(features), nn.Dropout(settings.dropout))
        self.sequence = nn.GRU(features, settings.hidden, batch_first=True, bidirectional=True)
        self.slice_alone = nn.Linear(features, 1)
        nn.init.constant_(self.slice_alone.bias, INITIAL_SLICE_LOGIT)
        self.slice_head = _zero_init(nn.Linear(width, 1))
        self.attention = nn.Sequential(
            nn.Linear(width, settings.hidden), nn.Tanh(), nn.Linear(settings.hidden, 1)
        )
        self.vertebra_head = _zero_init(nn.Linear(width, 1))
        self.level_embedding = nn.Parameter(torch.randn(len(LEVELS) + 1, width) * 0.02)
        self.patient_token = nn.Parameter(torch.zeros(width))
        layer = nn.TransformerEncoderLayer(
            width, nhead=4, dim_feedforward=width, dropout=settings.dropout, batch_first=True, norm_first=True
        )
        self.context: nn.Module = nn.Identity()
        if settings.context_layers:
            self.context = nn.TransformerEncoder(layer, settings.context_layers, enable_nested_tensor=False)
        self.context_head = _zero_init(nn.Linear(width, 1))
        self.patient_scale = nn.Parameter(torch.ones(()))
        self.patient_bias = nn.Parameter(torch.zeros(()))
        self.images_at_once = 0
        """How many images the encoder is shown at once; 0 for all of a batch."""

    def load_pretrained(self, learnt: SliceNet, prior_shift: float) -> None:
        """Take over an encoder that was trained on single slices, with its head.

        Parameters
        ----------
        learnt : SliceNet
            The trained network, with the same encoder.
        prior_shift : float
            What is added to its logits, since fractures were commoner in its training.
        """
        self.encoder.load_state_dict(learnt.encoder.state_dict())
        self.slice_alone.load_state_dict(learnt.head.state_dict())
        with torch.no_grad():
            self.slice_alone.bias.add_(prior_shift)

    def forward(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Give a batch of studies their logits.

        Parameters
        ----------
        images : Tensor of uint8, shape (batch, 7, slices, y, x, neighbours)
            Vertebra stacks.
        masks : Tensor of uint8, shape (batch, 7, slices, y, x)
            Their masks.

        Returns
        -------
        study : Tensor of float, shape (batch, 8)
            Study logits, C1 to C7 then patient_overall.
        slices : Tensor of float, shape (batch, 7, slices)
            Slice logits.
        """
        batch, levels, slices = images.shape[:3]
        pixels = encoder_input(images, masks)
        parts = [self.encoder(part) for part in pixels.split(self.images_at_once or len(pixels))]
        features = torch.cat(parts).reshape(batch * levels, slices, -1).float()
        with torch.autocast(features.device.type, enabled=False):  # sums of many logits need every digit
            return self.answer(features, batch)

    def answer(self, features: Tensor, batch: int) -> tuple[Tensor, Tensor]:
        """Compute everything above the encoder.

        Parameters
        ----------
        features : Tensor of float32, shape (batch * 7, slices, features)
            What the encoder says about each slice.
        batch : int
            Number of studies.

        Returns
        -------
        study : Tensor of float32, shape (batch, 8)
            As from `forward`.
        slices : Tensor of float32, shape (batch, 7, slices)
            As from `forward`.
        """
        levels, slices = len(LEVELS), features.shape[1]
        seen, _ = self.sequence(self.reduce(features))  # (vertebrae, slices, 2 hidden)
        slice_logits = (self.slice_alone(features) + self.slice_head(seen))[..., 0]
        share = (self.attention(seen) + slice_logits[..., None].detach()).softmax(dim=1)
        vertebrae = (share * seen).sum(dim=1).reshape(batch, levels, -1)

        slice_logits = slice_logits.reshape(batch, levels, slices)
        alone = self.vertebra_head(vertebrae)[..., 0] + slice_logits.logsumexp(dim=2)
        tokens = torch.cat([vertebrae, self.patient_token.expand(batch, 1, -1)], dim=1) + self.level_embedding
        together = self.context_head(self.context(tokens))[..., 0]  # (batch, 8)
        vertebra_logits = alone + together[:, :-1]
        anyone = self.patient_scale * vertebra_logits.logsumexp(dim=1) + self.patient_bias
        patient = anyone + together[:, -1]
        return torch.cat([vertebra_logits, patient[:, None]], dim=1), slice_logits


def where_in_slices(classifier: Classifier, images: Tensor, masks: Tensor) -> Tensor | None:
    """Say from where in single slices the logit comes that each slice has of its own.

    The product of the encoder's last map and of the logit's gradient with respect to it, summed over the features: for
    an encoder that takes the mean of its map this is each position's part of the logit.

    Parameters
    ----------
    classifier : Classifier
        In evaluation mode.
    images : Tensor of uint8, shape (slices, y, x, neighbours)
        Slices with their neighbours.
    masks : Tensor of uint8, shape (slices, y, x)
        Their masks.

    Returns
    -------
    Tensor of float32, shape (slices, height, width), or None
        On the CPU; None for an encoder whose last map is no picture.

    References
    ----------
    Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations", arXiv:2011.08891.
    """
    encoder = cast(Any, classifier.encoder)
    with torch.no_grad():
        features = encoder.forward_features(encoder_input(images, masks)).float()
    if features.ndim != 4 or features.shape[1] != _feature_count(classifier.encoder):
        return None
    features.requires_grad_()
    logits = classifier.slice_alone(encoder.forward_head(features).float())
    (gradient,) = torch.autograd.grad(logits.sum(), features)
    return (gradient * features).sum(dim=1).detach().cpu()


@torch.inference_mode()
def study_and_slice_logits(
    classifier: Classifier,
    images: Tensor,
    masks: Tensor,
    device: torch.device,
    mirrored_too: bool = False,
    precise: bool = False,
) -> tuple[Tensor, Tensor]:
    """Compute the logits of one classifier, of studies and of their slices.

    Parameters
    ----------
    classifier : Classifier
        In evaluation mode.
    images : Tensor of uint8, shape (batch, 7, slices, y, x, neighbours)
        Vertebra stacks.
    masks : Tensor of uint8, shape (batch, 7, slices, y, x)
        Their masks.
    device : torch.device
        Where the classifier is.
    mirrored_too : bool
        Whether the stacks are also shown with left and right exchanged, and the two answers averaged.
    precise : bool
        Compute in float32, whatever the device computes fastest in.

    Returns
    -------
    study : Tensor of float32, shape (batch, 8)
        C1 to C7 then patient_overall, on the CPU.
    slices : Tensor of float32, shape (batch, 7, slices)
        One a slice of each vertebra, on the CPU.
    """
    images, masks = images.to(device), masks.to(device)
    views = [(images, masks)]
    if mirrored_too:
        views.append((images.flip(-2), masks.flip(-1)))
    with autocast(device) if not precise else contextlib.nullcontext():
        answers = [classifier(*view) for view in views]
    study, slices = (torch.stack(parts).mean(dim=0) for parts in zip(*answers, strict=True))
    return study.cpu(), slices.cpu()
