"""StarGAN training behind the contract of the methods' Learner: update(batch) -> floats, state_dict, load_state_dict.

Source: Choi et al., "StarGAN", CVPR 2018, equations 5 and 6, with the numbers of the HHL authors' code (Zhong et al.,
ECCV 2018, stargan4reid).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import torch
from torch import Tensor, nn

from gan import averaging, losses
from gan.schedules import linear_decay, released_decay


def leave_alone(parameters: Iterable[nn.Parameter]) -> None:
    """What `average_gradients` does in a single process: nothing."""


def finite(values: Tensor) -> Tensor:
    """What `finite_everywhere` does in a single process: 1. where all values are finite, else 0., without waiting for them."""
    return values.isfinite().all().to(values.dtype)


class StarGAN:
    """Two networks, two Adams, one update.

    D, every step:          L_D = mean D(G(x,c')) - mean D(x) + weight_cls CE(D_cls(x), c) + weight_gp GP
    G, every n_critic-th:   L_G = -mean D(G(x,c')) + weight_cls CE(D_cls(G(x,c')), c') +
                            + weight_rec mean|x - G(G(x,c'),c)| + weight_identity mean|x - G(x,c)|
    (x real, c its camera, c' the wanted one; StarGAN eqs. 5, 6, 8). Training is a pure function of weights, Adam states
    and the batches with their `step`, so that a resumed run repeats an uninterrupted one bit for bit.

    Args:
        generator: (images, cameras) -> images, see gan.networks.Generator.
        discriminator: images -> (patch map, camera logits).
        steps: updates the whole training will take; the learning rate needs it. n_critic = 5 of them move G once.
        lr, betas: Adam, for both networks.
        n_critic: updates of D for one of G, which moves in steps n_critic - 1, 2 n_critic - 1, ...
        weight_cls, weight_rec, weight_gp: of classification, cycle and penalty; the published 1, 10, 10.
        weight_identity: of the identity mapping; 0, as published, skips it.
        decay_from: fraction of `steps` after which the learning rate falls linearly to 0.
        legacy_decay: let it fall as in the released code instead, hardly at all (gan.schedules.released_decay).
        ema: decay in [0, 1) of a moving average of G's weights over G's steps (gan.averaging); 0, as published, keeps
            none. The attribute `averaged` is the generator to make styles with: this one, or else G itself.
        precision: "float32", as published, or "bf16": both networks under autocast to bfloat16. Weights, Adam, the
            gradient penalty and the means of all terms stay in float32.
        average_gradients: called with D's (G's) parameters between backward and Adam, to average .grad over ranks;
            once for each step that the network moves in.
        finite_everywhere: of this rank's terms (n,), a tensor of one number: 1. if those of all ranks are finite, else 0.,
            so that none waits for one that has stopped.

    Raises:
        ValueError: a setting out of its range.

    Differs from the authors' code: the learning rate really falls (unless legacy_decay). ema and bf16 are additions.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        steps: int,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        n_critic: int = 5,
        weight_cls: float = 1.0,
        weight_rec: float = 10.0,
        weight_gp: float = 10.0,
        weight_identity: float = 0.0,
        decay_from: float = 0.5,
        legacy_decay: bool = False,
        ema: float = 0.0,
        precision: str = "float32",
        average_gradients: Callable[[Iterable[nn.Parameter]], None] = leave_alone,
        finite_everywhere: Callable[[Tensor], Tensor] = finite,
    ) -> None:
        _check(steps, betas, n_critic, decay_from, ema, precision)
        self.generator, self.discriminator = generator, discriminator
        self.steps, self.lr, self.n_critic, self.decay_from = steps, lr, n_critic, decay_from
        self.weight_cls, self.weight_rec = weight_cls, weight_rec
        self.weight_gp, self.weight_identity = weight_gp, weight_identity
        self.legacy_decay, self.ema, self.precision = legacy_decay, ema, precision
        self.averaged = averaging.follower(generator) if ema else generator
        self._networks = {"generator": generator, "discriminator": discriminator}
        self._networks |= {"averaged": self.averaged} if ema else {}
        self.average_gradients, self.finite_everywhere = average_gradients, finite_everywhere
        self._optimizers = {
            "generator": torch.optim.Adam(generator.parameters(), lr=lr, betas=tuple(betas)),
            "discriminator": torch.optim.Adam(discriminator.parameters(), lr=lr, betas=tuple(betas)),
        }

    def parameters(self) -> Iterator[nn.Parameter]:
        """G's parameters, then D's; e.g. for ranks to start from the same ones."""
        return chain(self.generator.parameters(), self.discriminator.parameters())

    def learning_rate(self, step: int) -> float:
        """lr times what gan.schedules leaves of it at the 0-based step: a pure function of the step."""
        decay = released_decay if self.legacy_decay else linear_decay
        return self.lr * decay(step, self.steps, self.decay_from)

    def update(self, batch: dict) -> dict[str, float]:
        """One step of D and, every n_critic-th, one of G.

        Args:
            batch: "images" (B, 3, H, W) float in [-1, 1]; "cameras" (B,) int64 0..K-1; "wanted" (B,) int64, this rank's
                slice of a permutation of the global batch's cameras; "alpha" (B,) float32, uniform in [0, 1), of the gradient
                penalty; "step" int, 0-based. All the same for the same step.

        Returns:
            This rank's "loss/D", "loss/D_adv", "loss/D_cls", "loss/D_gp", "accuracy/D_cls" (real images, of their
            camera), "lr", and where G moved "loss/G", "loss/G_adv", "loss/G_cls", "loss/G_rec", "loss/G_identity" (if
            weighted), "accuracy/G_cls" (styled images that D takes for the wanted camera). Terms are unweighted.

        Raises:
            FloatingPointError: a term is not finite, on this rank or another; the network that it would have moved is
                as before.
        """
        device = next(self.parameters()).device
        images, cameras, wanted, alpha = (batch[name].to(device) for name in ("images", "cameras", "wanted", "alpha"))
        step = batch["step"]
        with self._autocast(), torch.set_grad_enabled((step + 1) % self.n_critic == 0):
            styled = self.generator(images, wanted)  # one forward serves both: D's step does not change it
        terms, passes = self._discriminator_terms(images, cameras, styled.detach(), alpha)
        floats = self._step("discriminator", passes, terms, step)
        if styled.requires_grad:
            terms = self._generator_terms(images, cameras, wanted, styled)
            floats |= self._step("generator", [terms["loss/G"]], terms, step)
            if self.ema:
                decay = averaging.warmed(self.ema, (step + 1) // self.n_critic)
                averaging.follow(self.averaged, self.generator, decay)
        return floats | {"lr": self.learning_rate(step)}

    def _discriminator_terms(
        self, images: Tensor, cameras: Tensor, styled: Tensor, alpha: Tensor
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The terms, and what sums up to loss/D, a graph each.

        Of one graph a GPU would add up a weight's gradients in an order that hangs on when its process began: the penalty's
        nodes are made by a thread of the GPU, which numbers them by itself. In each of these two meet, and addition commutes.
        """
        with self._autocast():
            real, logits = self.discriminator(images)
            fake, _ = self.discriminator(styled)
        cls = losses.camera_classification(logits, cameras)
        gp = losses.gradient_penalty(lambda points: self.discriminator(points)[0], images, styled, alpha)
        passes = [self.weight_gp * gp, -losses.realness(fake), losses.realness(real) + self.weight_cls * cls]
        terms = {"loss/D_adv": losses.wasserstein(real, fake), "loss/D_cls": cls, "loss/D_gp": gp}
        return terms | {"loss/D": sum(passes), "accuracy/D_cls": _accuracy(logits, cameras)}, passes

    def _generator_terms(self, images: Tensor, cameras: Tensor, wanted: Tensor, styled: Tensor) -> dict[str, Tensor]:
        with self._autocast():
            fake, logits = self.discriminator(styled)
            cycled = self.generator(styled, cameras)
            own = self.generator(images, cameras) if self.weight_identity else None
        adv = losses.realness(fake)
        cls = losses.camera_classification(logits, wanted)
        rec = losses.reconstruction(images, cycled)
        total = adv + self.weight_cls * cls + self.weight_rec * rec
        terms = {"loss/G_adv": adv, "loss/G_cls": cls, "loss/G_rec": rec}
        if own is not None:
            terms["loss/G_identity"] = losses.identity_mapping(images, own)
            total = total + self.weight_identity * terms["loss/G_identity"]
        return terms | {"loss/G": total, "accuracy/G_cls": _accuracy(logits, wanted)}

    def _autocast(self) -> torch.autocast:
        """Around forwards alone, and ended before Adam moves: autocast keeps the weights that it has cast till its end."""
        device = next(self.parameters()).device.type
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def _step(self, name: str, passes: list[Tensor], terms: dict[str, Tensor], step: int) -> dict[str, float]:
        """Backward passes into the named network alone, average, Adam; the terms as floats, all finite."""
        values = torch.stack([term.detach().float() for term in terms.values()])
        told = torch.cat([values, self.finite_everywhere(values)[None]]).to("cpu", non_blocking=True)
        known = torch.cuda.current_stream(values.device).record_event() if values.device.type == "cuda" else None
        parameters = [parameter for parameter in self._networks[name].parameters() if parameter.requires_grad]
        optimizer = self._optimizers[name]
        optimizer.zero_grad()
        for loss in passes:
            loss.backward(inputs=parameters)  # G's loss runs through D but leaves no gradient there
        self.average_gradients(parameters)
        if known:
            known.synchronize()  # a GPU is waited for no longer than for the terms; its backward pass goes on
        floats = dict(zip(terms, told.tolist(), strict=False))
        if not told[-1]:
            broken = [f"{term} is {value}" for term, value in floats.items() if not math.isfinite(value)]
            raise FloatingPointError(f"step {step}: {[*broken, 'a term is not finite on another worker'][0]}")
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        optimizer.step()
        return floats

    def state_dict(self) -> dict:
        """Weights of both networks, of the average if there is one, and the state of both Adams."""
        adams = {f"{name}_adam": optimizer.state_dict() for name, optimizer in self._optimizers.items()}
        return {name: network.state_dict() for name, network in self._networks.items()} | adams

    def load_state_dict(self, state: dict) -> None:
        """Takes what `state_dict` gave; KeyError or RuntimeError when it comes from other networks."""
        for name, network in self._networks.items():
            network.load_state_dict(state[name])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state[f"{name}_adam"])


def _check(steps: int, betas, n_critic: int, decay_from: float, ema: float, precision: str) -> None:
    if len(betas) != 2:
        raise ValueError(f"betas={list(betas)}: expected the two of Adam")
    if steps < n_critic or n_critic < 1:
        raise ValueError(f"steps={steps} and n_critic={n_critic}: G would never move; n_critic must be 1..steps")
    if not 0 <= decay_from <= 1:
        raise ValueError(f"decay_from={decay_from} must be a fraction of the steps, 0..1")
    if not 0 <= ema < 1:
        raise ValueError(f"ema={ema} must be in [0, 1): at 1 the average would never leave the start")
    if precision not in ("float32", "bf16"):
        raise ValueError(f"precision is {precision!r}; expected 'float32' or 'bf16'")


def _accuracy(logits: Tensor, cameras: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == cameras).float().mean()
