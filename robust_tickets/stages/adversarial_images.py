"""Adversarial images on disk: exact ones for programs, pictures for people."""

import io
import re
import shutil
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
from robust_tickets.runs import files


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

    def at(self, eps: str) -> OnImages:
        """The function that receives the images of attacks at that eps (see `OnImages`)."""
        subfolder = f"eps-{_plain(eps)}" if self._apart else "."
        return partial(self._add, self._unfinished / subfolder)

    def _add(self, folder: Path, attack: str, samples: Split, images: Tensor, broken: Tensor) -> None:
        self._parts.setdefault(folder / _plain(attack), []).append((samples.to("cpu"), images, broken))

    def write(self) -> str:
        """Write each attack's images, all of them or none, and return a line for people.

        `<attack>.npz` holds images float32 (N, C, H, W), originals uint8, labels, ids and broken;
        `<attack>/<id>-label-<k>[-broken].png` are for the eye: rounding to 8 bits may undo an attack. Raises
        InputError where they cannot be written.
        """
        shutil.rmtree(self._unfinished, ignore_errors=True)  # left by a process that was killed
        if not self._parts:
            return (
                f"no adversarial images are in {self._folder}: no image is right without an attack, or no "
                "attack was asked for"
            )
        try:
            count = self._write()
            self._folder.rmdir()  # it is empty
            self._unfinished.rename(self._folder)
        except OSError as error:
            raise files.write_error(self._folder, error) from None
        finally:
            shutil.rmtree(self._unfinished, ignore_errors=True)
        return f"{count:,} adversarial images are in {self._folder}"

    def _write(self) -> int:
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
            for image, label, number, broken in zip(
                arrays["images"], arrays["labels"], arrays["ids"], arrays["broken"], strict=True
            ):
                name = f"{int(number):06}-label-{int(label)}{'-broken' if broken else ''}.png"
                _png(image, place / name)
            count += len(arrays["labels"])
        return count


def _plain(words: str) -> str:
    """A file name of letters, digits, dots, underscores and hyphens, cut where it is long."""
    name = re.sub(r"[^\w.]+", "-", words).strip("-.")
    return name if len(name) <= 100 else f"{name[:80]}-{sha256(words.encode()).hexdigest()[:8]}"


def _png(image: Tensor, file: Path) -> None:
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, format="PNG")
