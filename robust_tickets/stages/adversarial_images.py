"""Adversarial images on disk: exact ones for programs, pictures for people."""

import io
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robust_tickets.base.errors import InputError
from robust_tickets.data.dataset import Split
from robust_tickets.evaluation.evaluate import OnImages
from robust_tickets.report.figures import FORMS, image
from robust_tickets.report.strip_plot import Strip, strip_figure
from robust_tickets.runs import files

STRIP = 8
"""Samples on a strip: those that broke first, then others."""


@dataclass(frozen=True)
class Strips:
    """What the strips of an evaluation need besides its images.

    predict: the classes that the network sees in float images (N, C, H, W), long (N,).
    title: network, data and norm.
    """

    predict: Callable[[Tensor], Tensor]
    title: str


class AdversarialImages:
    """Collects the adversarial images of one evaluation, and writes them under a folder.

    folder: an empty one, or one that is made.
    apart: whether each eps has a folder of its own.

    Samples that are wrong without an attack are not attacked, and have no image. Raises InputError for a
    folder that cannot be made or is not empty.
    """

    def __init__(self, folder: Path, *, apart: bool = False) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)  # now, rather than when the attacks are done
        except OSError as error:
            raise InputError(
                f"cannot write images to {folder} ({error.strerror}): choose another --save-images"
            ) from None
        if any(folder.iterdir()):
            raise InputError(f"{folder} is not empty: choose another --save-images, so that nothing is mixed")
        self._folder = folder.resolve()
        self._unfinished = self._folder.with_name(f".{self._folder.name}.part")
        self._apart = apart
        self._parts: dict[Path, list[tuple[Split, Tensor, Tensor]]] = {}
        self._attacks: dict[Path, str] = {}

    def at(self, eps: str) -> OnImages:
        """The function that receives the images of attacks at that eps (see `OnImages`)."""
        subfolder = f"eps-{_plain(eps)}" if self._apart else "."
        return partial(self._add, self._unfinished / subfolder, eps)

    def _add(
        self, folder: Path, eps: str, attack: str, samples: Split, images: Tensor, broken: Tensor
    ) -> None:
        place = folder / _plain(attack)
        self._parts.setdefault(place, []).append((samples.to("cpu"), images, broken))
        self._attacks[place] = f"{attack} at eps {eps}"

    def write(self, strips: Strips | None = None) -> str:
        """Write each attack's images, all of them or none, and return a line for people.

        `<attack>.npz` holds images float32 (N, C, H, W), originals uint8, labels, ids and broken;
        `<attack>/<id>-label-<k>[-broken].png` are for the eye: rounding to 8 bits may undo an attack.
        With strips, `<attack>-strip.svg` and `.png` show the first samples with their perturbations. Raises
        InputError where they cannot be written.
        """
        shutil.rmtree(self._unfinished, ignore_errors=True)  # left by a process that was killed
        if not self._parts:
            return (
                f"no adversarial images are in {self._folder}: no image is right without an attack, or no "
                "attack was asked for"
            )
        try:
            count = self._write(strips)
            self._folder.rmdir()  # it is empty
            self._unfinished.rename(self._folder)
        except OSError as error:
            raise files.write_error(self._folder, error) from None
        finally:
            shutil.rmtree(self._unfinished, ignore_errors=True)
        return f"{count:,} adversarial images are in {self._folder}"

    def _write(self, strips: Strips | None) -> int:
        count = 0
        for place, parts in self._parts.items():
            arrays = {
                "images": torch.cat([images for _, images, _ in parts]).float(),
                "originals": torch.cat([samples.images for samples, _, _ in parts]),
                "labels": torch.cat([samples.labels for samples, _, _ in parts]),
                "ids": torch.cat([samples.ids for samples, _, _ in parts]),
                "broken": torch.cat([broken for _, _, broken in parts]),
            }
            file = io.BytesIO()
            plain: dict[str, Any] = {key: tensor.contiguous().numpy() for key, tensor in arrays.items()}
            np.savez_compressed(file, **plain)
            files.write_bytes(place.with_name(f"{place.name}.npz"), file.getvalue())
            for pixels, label, number, broken in zip(
                arrays["images"], arrays["labels"], arrays["ids"], arrays["broken"], strict=True
            ):
                name = f"{int(number):06}-label-{int(label)}{'-broken' if broken else ''}.png"
                _png(pixels, place / name)
            if strips is not None:
                figure = strip_figure(_strip(arrays, strips), f"{self._attacks[place]}: {strips.title}")
                for form in FORMS:
                    files.write_bytes(place.with_name(f"{place.name}-strip.{form}"), image(figure, form))
            count += len(arrays["labels"])
        return count


def _strip(arrays: dict[str, Tensor], strips: Strips) -> Strip:
    """The samples of a strip: the first of those that broke, then the first of the others."""
    broken = arrays["broken"]
    rows = torch.cat([broken.nonzero()[:, 0], (~broken).nonzero()[:, 0]])[:STRIP]
    clean, adversarial = arrays["originals"][rows].float() / 255, arrays["images"][rows]

    def last(images: Tensor) -> Any:
        return images.permute(0, 2, 3, 1).numpy()

    before, after = (strips.predict(images).cpu().numpy() for images in (clean, adversarial))
    return Strip(last(clean), last(adversarial), arrays["labels"][rows].numpy(), before, after)


def _plain(words: str) -> str:
    """A file name of letters, digits, dots, underscores and hyphens, cut where it is long."""
    name = re.sub(r"[^\w.]+", "-", words).strip("-.")
    return name if len(name) <= 100 else f"{name[:80]}-{sha256(words.encode()).hexdigest()[:8]}"


def _png(image: Tensor, file: Path) -> None:
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, format="PNG")
