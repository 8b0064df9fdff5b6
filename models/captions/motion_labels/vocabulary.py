"""The 13 camera motion labels and the six degrees of freedom that they name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

STAY = "Stay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One degree of freedom of the camera and the labels of its two directions."""

    positive: str
    negative: str


# Motion of the camera in its own axes (x right, y down, z forward): translation along z, x, y, then rotation
# about y, x, z. SpatialVID's label rule lists several labels in this order.
AXES = (
    Axis(positive="Dolly In", negative="Dolly Out"),
    Axis(positive="Truck Right", negative="Truck Left"),
    Axis(positive="Pedestal Down", negative="Pedestal Up"),
    Axis(positive="Pan Right", negative="Pan Left"),
    Axis(positive="Tilt Up", negative="Tilt Down"),
    Axis(positive="Roll CW", negative="Roll CCW"),
)
NUM_TRANSLATIONS = 3
LABELS = (*(word for axis in AXES for word in (axis.positive, axis.negative)), STAY)
OPPOSITES = {a: b for axis in AXES for a, b in ((axis.positive, axis.negative), (axis.negative, axis.positive))}


def name_directions(signs: npt.NDArray[np.signedinteger]) -> tuple[str, ...]:
    """Labels of (6,) signs (-1, 0, 1) along `AXES`, in that order.

    "Stay" when all are 0.
    """
    labels = tuple(a.positive if s > 0 else a.negative for a, s in zip(AXES, signs, strict=True) if s)
    return labels or (STAY,)
