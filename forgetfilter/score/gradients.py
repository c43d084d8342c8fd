"""How unlike the gradients of the safe set an example's gradient is: LESS (Xia et al., ICML 2024), turned round.

The gradient is that of an example's answer loss with respect to the weights of the adapter under M1, divided by its
length. (M1's adapter has learned the noisy data; LESS warms one up on a share of its data.) LESS takes Adam's update
for the candidates, several checkpoints and a dense random projection. Here the gradient is plain, there is one
checkpoint, and the projection is sparse: each weight is added, with a random sign, to one of `dimensions` sums (the
count sketch of Charikar et al. 2002), which keeps cosines to about 1 / sqrt(dimensions) and needs no matrix. A batch
has one example in each row and takes one backward pass: the gradient of a linear layer for row b is the sum over the
tokens of the outer product of the gradient of its output and its input, so every example gets its own.
"""

from collections.abc import Sequence
from typing import Any

import torch

from forgetfilter.data.batches import collate, plan_scoring
from forgetfilter.data.token_files import Prepared
from forgetfilter.data.turns import Encoded
from forgetfilter.models.example_losses import attach, to_device
from forgetfilter.score.distances import Vectors


class Sketcher:
    """Makes sketches of the gradients of an adapter's weights, one for each example of a batch. It must be closed."""

    def __init__(self, model: torch.nn.Module, dimensions: int):
        self.model, self.dimensions = model, dimensions
        self.device = next(model.parameters()).device
        layers = {
            name: layer
            for name, layer in model.named_modules()
            if isinstance(layer, torch.nn.Linear) and {"lora_A", "lora_B"} & {*name.split(".")}
        }
        assert layers, "no adapter: the config's check lets only lora and qlora pass"
        model.requires_grad_(False)
        self.weights = [layer.weight.requires_grad_(True) for layer in layers.values()]
        generator = torch.Generator().manual_seed(0)  # the same sketch for every run, rank and device
        self._undo = [attach(model)]
        for layer in layers.values():
            place = torch.randint(dimensions, (layer.weight.numel(),), generator=generator)
            sign = torch.randint(2, (layer.weight.numel(),), generator=generator) * 2.0 - 1.0
            hook = layer.register_forward_hook(self._watch(place.to(self.device), sign.to(self.device)))
            self._undo.append(hook.remove)
        self.sums = torch.zeros(0)

    def unit(self, rows: Sequence[Encoded]) -> torch.Tensor:
        """Unit vectors [E, dimensions], float32; NaN where there is no gradient, as without label tokens."""
        self.sums = torch.zeros(len(rows), self.dimensions, device=self.device)
        batch = collate(rows, range(len(rows)), "padded", pad_token=0) | {"norm": torch.tensor(1.0)}
        loss = self.model(**to_device(batch, self.device))["loss"]
        torch.autograd.grad(loss, self.weights, allow_unused=True)
        unit: torch.Tensor = self.sums / torch.linalg.vector_norm(self.sums, dim=1, keepdim=True)
        return unit

    def close(self) -> None:
        """Takes the hooks off the model; what requires gradients stays changed."""
        for undo in self._undo:
            undo()

    def _watch(self, place: torch.Tensor, sign: torch.Tensor) -> Any:
        def forward(layer: torch.nn.Module, args: tuple[torch.Tensor], output: Any) -> None:
            given = args[0].detach()

            def backward(gradient: torch.Tensor) -> None:
                each = torch.einsum("eto,eti->eoi", gradient.float(), given.float())
                self.sums.index_add_(1, place, each.flatten(1) * sign)

            output.register_hook(backward)

        return forward


def vectors(sketcher: Sketcher, data: Prepared, batch_tokens: int) -> Vectors:
    """The gradients of a data set for score/distances.py, in batches of at most `batch_tokens` places."""
    plan = plan_scoring(data.lengths(), batch_tokens, padded=True)

    def unit(step: int) -> tuple[Any, torch.Tensor]:
        rows = plan[step]
        return data.named(rows)["id"], sketcher.unit([data.row(int(row)) for row in rows])

    return Vectors(len(plan), unit)
