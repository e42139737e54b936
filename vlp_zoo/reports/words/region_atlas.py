"""Where the 29 regions are on a synthetic frontal chest, in shares of the image.

Medians over the first 400 training studies of the phantom (seed 0); made by
`vlp_zoo.reports.regions.RegionAtlas.fit`. Real chests differ by positioning: fit an
atlas on boxed data of your own where you have some.
"""

from __future__ import annotations

__all__ = ["PHANTOM_ATLAS"]

PHANTOM_ATLAS: dict[str, tuple[float, float, float, float]] = {
    "right costophrenic angle": (0.137, 0.697, 0.246, 0.805),
    "right hilar structures": (0.360, 0.333, 0.465, 0.501),
    "right apical zone": (0.242, 0.126, 0.466, 0.214),
    "right upper lung zone": (0.188, 0.126, 0.476, 0.332),
    "right mid lung zone": (0.146, 0.325, 0.478, 0.535),
    "right lower lung zone": (0.136, 0.530, 0.477, 0.781),
    "right hemidiaphragm": (0.136, 0.693, 0.475, 0.790),
    "right clavicle": (0.114, 0.136, 0.472, 0.212),
    "right lung": (0.136, 0.126, 0.481, 0.790),
    "left costophrenic angle": (0.763, 0.719, 0.871, 0.829),
    "left hilar structures": (0.549, 0.315, 0.653, 0.483),
    "left apical zone": (0.544, 0.126, 0.767, 0.217),
    "left upper lung zone": (0.533, 0.126, 0.821, 0.338),
    "left mid lung zone": (0.530, 0.332, 0.863, 0.546),
    "left lower lung zone": (0.529, 0.543, 0.874, 0.803),
    "left hemidiaphragm": (0.531, 0.713, 0.872, 0.814),
    "left clavicle": (0.537, 0.137, 0.899, 0.212),
    "left lung": (0.526, 0.126, 0.874, 0.814),
    "trachea": (0.478, 0.037, 0.526, 0.347),
    "spine": (0.451, 0.027, 0.558, 0.978),
    "aortic arch": (0.490, 0.245, 0.586, 0.353),
    "upper mediastinum": (0.443, 0.114, 0.582, 0.362),
    "mediastinum": (0.393, 0.114, 0.738, 0.794),
    "svc": (0.440, 0.205, 0.485, 0.433),
    "cavoatrial junction": (0.420, 0.398, 0.489, 0.477),
    "right atrium": (0.394, 0.433, 0.493, 0.756),
    "carina": (0.465, 0.328, 0.535, 0.382),
    "cardiac silhouette": (0.394, 0.369, 0.738, 0.794),
    "abdomen": (0.137, 0.742, 0.871, 0.994),
}
"""Region to x1, y1, x2, y2."""
