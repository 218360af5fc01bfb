"""Padded random crops and horizontal flips, and the way back from a cropped image to the whole one."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """The crop and the flip of each image of a batch.

    down, right: first row and column of each crop in the image padded on all sides, int64 (B,) in
        0..2*padding.
    flip: which crops are flipped horizontally, bool (B,).
    padding: pixels of padding on each side.
    """

    down: Tensor
    right: Tensor
    flip: Tensor
    padding: int

    def apply(self, images: Tensor) -> Tensor:
        """Each image (B, C, H, W) padded with zeros, cropped and flipped, by one gather.

        Gives (B, C, H, W) in the channels-last memory format.
        """
        padded = F.pad(images, (self.padding,) * 4)
        return padded[self._places(images)].permute(0, 3, 1, 2)

    def write_back(self, crops: Tensor, images: Tensor) -> Tensor:
        """The images (B, C, H, W) with the pixels that the crops show replaced by those of `crops`.

        Pixels that no crop shows stay as they are: `apply` of what this gives is `crops`, but for zeros where
        a crop shows padding.
        """
        padded = F.pad(images, (self.padding,) * 4)
        padded[self._places(images)] = crops.permute(0, 2, 3, 1).to(images.dtype)
        height, width = images.shape[2:]
        return padded[..., self.padding : self.padding + height, self.padding : self.padding + width]

    def _places(self, images: Tensor) -> tuple[Tensor, slice, Tensor, Tensor]:
        """The index of each crop's pixels in the padded images; what it picks is (B, H, W, C)."""
        n, _, height, width = images.shape
        device = images.device
        column = torch.arange(width, device=device).expand(n, width)
        column = torch.where(self.flip[:, None], width - 1 - column, column) + self.right[:, None]
        row = torch.arange(height, device=device) + self.down[:, None]
        sample = torch.arange(n, device=device)[:, None, None]
        return sample, slice(None), row[:, :, None], column[:, None, :]
