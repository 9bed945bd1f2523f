"""The camera model of the synthetic worlds: what a camera does to the colours and the sharpness of what it sees.

    image = apply_style(drawing, style of the camera, jitter of the image)

The drawing knows nothing of the camera, and the style nothing of the drawing; so the same drawing can be seen by every
camera, which is the true answer that a camera-style generator is after.
"""

import math
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
JITTER = 0.06  # from image to image a camera's white balance and exposure wander by so much


@dataclass(frozen=True)
class CameraStyle:
    """One camera. All is neutral at hue = offset = blur = noise = 0 and 1 elsewhere."""

    hue: float  # rotation about the grey axis, radians
    gains: tuple[float, float, float]  # exposure times colour cast, for red, green, blue
    gamma: float
    contrast: float  # about mid grey
    saturation: float
    offset: float  # in units of the full range
    blur: float  # standard deviation in pixels, below 0.7
    noise: float  # standard deviation in units of the full range
    resolution: float  # fraction of the pixels along each side that the camera resolves


def draw_style(rng: Random, strength: float) -> CameraStyle:
    """A camera drawn at random: factors are log-normal about 1, the rest normal about 0, spreads grow with `strength`.

    At strength s: hue N(0, .25 s); cast (per channel) exp N(0, .22 s), exposure exp N(0, .18 s), gamma exp N(0, .25 s),
    contrast exp N(0, .22 s), saturation exp N(0, .4 s), offset N(0, .05 s). Sharpness is touched less, by t = .35 s:
    blur |N(0, .5 t)|, noise |N(0, .025 t)|, resolution exp -|N(0, .45 t)|.
    """

    def factor(spread: float) -> float:
        return math.exp(rng.gauss(0, spread * strength))

    exposure = factor(0.18)
    defects = 0.35 * strength
    return CameraStyle(
        hue=rng.gauss(0, 0.25 * strength),
        gains=tuple(exposure * factor(0.22) for _ in range(3)),
        gamma=factor(0.25),
        contrast=factor(0.22),
        saturation=factor(0.4),
        offset=rng.gauss(0, 0.05 * strength),
        blur=abs(rng.gauss(0, 0.5 * defects)),
        noise=abs(rng.gauss(0, 0.025 * defects)),
        resolution=math.exp(-abs(rng.gauss(0, 0.45 * defects))),
    )


def colour_matrix(hue: float, saturation: float) -> np.ndarray:
    """(3, 3) float32 matrix M of x -> M x: rotation about the grey axis (Rodrigues), then saturation about luma.

    Greys stay as they are: M (1, 1, 1) = (1, 1, 1).
    """
    cosine, sine = math.cos(hue), math.sin(hue) / math.sqrt(3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    rotation = cosine * np.eye(3) + sine * cross + (1 - cosine) / 3 * np.ones((3, 3))
    saturate = saturation * np.eye(3) + (1 - saturation) * np.ones((3, 1)) * LUMA
    return (saturate @ rotation).astype(np.float32)


def apply_style(drawing: np.ndarray, style: CameraStyle, rng: Random) -> np.ndarray:
    """`drawing` as the camera shows it, in the order of a real one: optics, exposure, tone curve, colour, noise.

    With x in [0, 1] and M = colour_matrix:  x <- shrink, enlarge and blur x;  x <- (gains * jitter * x)^gamma;
    x <- M x;  x <- contrast (x - 1/2) + 1/2 + offset;  x <- x + noise;  clipped to [0, 1] after each but the first.

    Args:
        drawing: (H, W, 3) uint8 RGB.
        rng: the image's own: gives the jitter of the three gains, exp N(0, JITTER), and the noise, uniform since that
            is quickly drawn. Two cameras handed equal generators differ by their styles alone.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width, _ = drawing.shape
    gains = np.float32([[gain * math.exp(rng.gauss(0, JITTER)) / 255] for gain in style.gains])
    noise = np.frombuffer(rng.randbytes(drawing.size), dtype=np.uint8).reshape(3, -1) / np.float32(255) - np.float32(
        0.5
    )
    x = _optics(drawing, style).reshape(3, -1)  # channels first: numpy is slow where the innermost axis is short
    x = np.clip(gains * x, 0, 1) ** np.float32(style.gamma)
    x = np.clip(colour_matrix(style.hue, style.saturation) @ x, 0, 1)
    x = np.clip(style.contrast * (x - 0.5) + 0.5 + style.offset, 0, 1)
    x = np.clip(x + math.sqrt(12) * style.noise * noise, 0, 1)
    return np.stack((255 * x + 0.5).astype(np.uint8), axis=-1).reshape(height, width, 3)


def _optics(drawing: np.ndarray, style: CameraStyle) -> np.ndarray:
    """(3, H, W) float32, shrunk and enlarged again, then blurred."""
    image = Image.fromarray(drawing)
    coarse = (round(image.width * style.resolution), round(image.height * style.resolution))
    image = image.resize(coarse, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)
    x = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")
    # One step of the heat equation: weights w, 1 - 2 w, w have the variance 2 w. Right for blurs below a pixel.
    weight = min(style.blur**2 / 2, 0.25)
    across = weight * np.diff(x, axis=2)
    x[:, :, :-1] += across
    x[:, :, 1:] -= across
    down = weight * np.diff(x, axis=1)
    x[:, :-1] += down
    x[:, 1:] -= down
    return x
