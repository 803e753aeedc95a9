"""The findings of the chest phantom as radiographic signs.

Findings that change the anatomy itself (a wide heart, flat diaphragms) do so in chest_reshape. The position of a sign
comes from `place`, a generator that is the same at every follow-up of the patient; its extent comes from `severity` in
[0, 1], which changes between follow-ups. Low severities are subtle on purpose.
"""

from collections.abc import Callable

import cv2
import numpy as np

from xlite.data.phantom.chest_anatomy import LEFT, RIGHT
from xlite.data.phantom.chest_canvas import ellipse_outline
from xlite.data.phantom.chest_scene import Scene, blob, either_side

_LOBES = {RIGHT: ((0.05, 0.50), (0.50, 0.78), (0.62, 1.05)), LEFT: ((0.05, 0.58), (0.55, 1.05))}  # depth from, to


def _atelectasis(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """Plates near the raised diaphragm, or a wedge pointing to the hilum."""
    side = either_side(place)
    anatomy = scene.anatomy
    if place.random() < 0.65:
        t = np.linspace(-1, 1, 8)
        plates = []
        for k in range(1 + int(place.integers(0, 3))):
            x, y = anatomy.lung_point(side, place.uniform(0.4, 0.7), 0.88 - 0.13 * k - 0.05 * place.random())
            reach, tilt = place.uniform(0.06, 0.10), place.normal(0, 0.25)
            plates.append(np.stack([x + reach * t, y + reach * tilt * t - 0.012 * t**2], 1))
        width = 0.016 + 0.010 * severity
        scene.opacify(scene.canvas.stroke([(np.array(plates), width, 1.0)], 0.004) * (0.5 + 0.45 * severity))
        return
    tip = anatomy.hilum(side)
    foot, dome = anatomy.lung_point(side, 0.42, 1.05), anatomy.dome(side)
    wedge = np.array([tip, (foot[0] + side * (0.05 + 0.06 * severity), dome + 0.03), (side * 0.04, dome + 0.03)])
    scene.opacify(scene.canvas.fill([wedge], 0.012) * (0.45 + 0.45 * severity))


def _consolidation(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """One or two dense patches with fuzzy borders."""
    for _ in range(1 + int(place.random() < 0.35)):
        side = either_side(place)
        centre = scene.anatomy.lung_point(side, place.uniform(0.3, 0.75), place.uniform(0.3, 0.85))
        radius = place.uniform(0.058, 0.075) + 0.06 * severity
        rough = scene.canvas.noise(place, 24, coarse=True)
        patch = blob(scene.canvas, centre, (radius, radius * place.uniform(0.8, 1.25)), rough)
        scene.opacify(scene.canvas.enlarged(patch) * scene.lungs[side] * (0.42 + 0.5 * severity))


def _edema(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """Perihilar haze on both sides, full vessels, short septal lines at the bases."""
    x, y = scene.canvas.grid
    rough = 1 + 0.22 * scene.canvas.noise(place, 20, coarse=True)
    for side in (RIGHT, LEFT):
        hx, hy = scene.anatomy.hilum(side)
        wing = np.exp(-(((x - hx - side * 0.05) / 0.12) ** 2) - ((y - hy - 0.05) / 0.18) ** 2)
        scene.opacify(scene.canvas.enlarged(np.clip(wing * rough, 0, 1)) * (0.26 + 0.46 * severity))
    scene.markings *= 1.15 + 0.5 * severity
    ends = [(side, scene.anatomy.lung_point(side, 0.98, place.uniform(0.65, 1.1))) for side in (RIGHT, LEFT) * 5]
    septa = np.array([[(px, py), (px - side * 0.025, py + 0.003)] for side, (px, py) in ends])
    scene.opacify(scene.canvas.stroke([(septa, 0.0025, 0.4)]))


def _effusion(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """Fluid up to a meniscus that climbs the lateral chest wall; small ones only blunt the costophrenic angle."""
    both = place.random() < 0.3
    first = either_side(place)
    x, y = scene.canvas.grid
    for side in (first, -first) if both else (first,):
        anatomy = scene.anatomy
        angle_y = anatomy.dome(side) + anatomy.dome_depth
        level = angle_y - 0.04 - (0.24 * severity + 0.02 * place.random()) * (1.0 if side == first else 0.6)
        lateral = np.clip(side * x / anatomy.lung_width, 0, 1)
        surface = level - 0.085 * lateral**5 + 0.03 * (1 - lateral)
        fluid = np.clip((y - surface) / 0.022 + 0.5, 0, 1) * (side * x > 0)
        scene.opacify(scene.canvas.enlarged(fluid) * 0.93)


def _emphysema(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """Thin-walled bullae without markings; chest_reshape makes the lungs large and dark."""
    for _ in range(int(place.integers(0, 3))):
        centre = scene.anatomy.lung_point(either_side(place), place.uniform(0.5, 0.8), place.uniform(0.1, 0.4))
        radius = place.uniform(0.03, 0.05)
        hole = scene.canvas.fill([ellipse_outline(centre, (radius, radius))], 0.006)
        scene.markings *= 1 - 0.8 * hole
        scene.air *= 1 + (0.05 + 0.08 * severity) * hole


def _fibrosis(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """A net of short lines and small rings towards the bases and the periphery."""
    num = 240
    one_sided = either_side(place) if place.random() < 0.25 else 0
    sides = np.full(num, one_sided) if one_sided else np.where(place.random(num) < 0.5, LEFT, RIGHT)
    across = np.maximum(1 - np.abs(place.normal(0, 0.38, num)), 0.1)
    depth = np.maximum(1.05 - np.abs(place.normal(0, 0.22 + 0.1 * severity, num)), 0.1)
    spots = np.array([scene.anatomy.lung_point(*spot) for spot in zip(sides, across, depth, strict=True)])[:, None]
    rings = (
        ellipse_outline((0, 0), (1, 1))[::2]
        * place.uniform(0.004, 0.009, (num // 2, 1, 1))
        * place.uniform(0.7, 1.3, (num // 2, 12, 2))
        + spots[::2]
    )
    threads = np.concatenate([spots[1::2], spots[1::2] + place.normal(0, 0.018, (num // 2, 1, 2))], 1)
    closed = np.concatenate([rings, rings[:, :1]], 1)
    net = scene.canvas.stroke([(closed, 0.004, 0.8), (threads, 0.0045, 0.8)], 0.002)
    haze_px = scene.canvas.px // 16
    net += 0.45 * cv2.blur(net, (haze_px, haze_px))  # structures too fine to be seen individually
    scene.opacify(np.minimum(net * (0.4 + 0.6 * severity), 0.9))


def _hernia(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """A round shadow behind the heart with air above a level of fluid."""
    radius = place.uniform(0.058, 0.075) + 0.055 * severity
    x = place.uniform(-0.02, 0.06)
    y = max(scene.anatomy.dome_y) - 0.35 * radius - 0.02
    sac = scene.canvas.fill([ellipse_outline((x, y), (radius, radius * 0.9))], 0.004)
    scene.opacify(sac * 0.8)
    arc = ellipse_outline((x, y), (radius * 0.82, radius * 0.72))
    air = scene.canvas.fill([np.where(arc[:, 1:] > y, (1, 0) * arc + (0, y), arc)], 0.003)
    scene.density += 0.06 * sac - (0.20 + 0.10 * severity) * air


def _infiltration(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """Several faint, ill-defined, patchy shadows."""
    side = either_side(place)
    patchy = scene.canvas.noise(place, 26, coarse=True)
    for _ in range(2 + int(place.integers(0, 3))):
        side = -side if place.random() < 0.35 else side
        centre = scene.anatomy.lung_point(side, place.uniform(0.25, 0.75), place.uniform(0.3, 0.95))
        radius = place.uniform(0.07, 0.11)
        patch = blob(scene.canvas, centre, (radius, radius), patchy) * np.clip(0.7 + 0.5 * patchy, 0, 1.4)
        scene.opacify(scene.canvas.enlarged(patch) * (0.20 + 0.38 * severity))


def _round_shadow(scene: Scene, place: np.random.Generator, radius: float, opacity: float) -> None:
    side = either_side(place)
    centre = scene.anatomy.lung_point(side, place.uniform(0.4, 0.85), place.uniform(0.18, 0.88))
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    lobulation = 1 + 0.06 * np.sin(3 * angle + place.uniform(0, 6)) + 0.05 * np.sin(5 * angle + place.uniform(0, 6))
    outline = np.array(centre) + radius * lobulation[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    scene.opacify(scene.canvas.fill([outline], 0.004 + 0.04 * radius) * opacity)


def _mass(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """A round shadow of 3.5 to 8 cm (the image is about 40 cm wide) with a sharp border."""
    _round_shadow(scene, place, place.uniform(0.045, 0.062) + 0.035 * severity, 0.5 + 0.45 * severity)


def _nodule(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """One to three round shadows of 1.5 to 3 cm."""
    for _ in range(1 + int(place.integers(0, 3))):
        _round_shadow(scene, place, place.uniform(0.024, 0.029) + 0.009 * severity, 0.62 + 0.36 * severity)


def _pleural_thickening(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """A band along the chest wall: a cap on the apex or a lateral strip."""
    side = either_side(place)
    outline = scene.anatomy.lung_outline(side)
    apical = place.random() < 0.5
    part = np.concatenate([outline[-3:], outline[:6]]) if apical else outline[3 : 11 + int(place.integers(0, 4))]
    width = 2 * (0.022 + 0.028 * severity)  # half of the stroke lies outside the lung
    band = scene.canvas.stroke([(part[None], width, 1.0)], 0.004)
    scene.opacify(band * scene.lungs[side] * (0.6 + 0.35 * severity))


def _pneumonia(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """An opacity of a lobe with a straight border along its fissure and air-filled bronchi."""
    side = either_side(place)
    lobes = _LOBES[side]
    top, bottom = lobes[int(place.integers(len(lobes)))]
    anatomy = scene.anatomy
    length = anatomy.dome(side) - anatomy.apex_y
    x, y = scene.canvas.grid
    depth = (y - anatomy.apex_y) / length + 0.12 * (side * x / anatomy.lung_width - 0.5)
    rough = scene.canvas.noise(place, 20, coarse=True)
    lobe = (
        np.clip((depth - top) / 0.04, 0, 1) * np.clip((bottom - depth) / 0.04, 0, 1) * np.clip(0.85 + 0.2 * rough, 0, 1)
    )
    middle = np.array(anatomy.lung_point(side, 0.55, (top + min(bottom, 1)) / 2))
    hilum = np.array(anatomy.hilum(side))
    bronchi = []
    for turn in (-0.45, 0.0, 0.45):
        direction = (middle - hilum) * 1.2
        c, s = np.cos(turn), np.sin(turn)
        end = hilum + np.array([c * direction[0] - s * direction[1], s * direction[0] + c * direction[1]])
        bronchi.append(np.linspace(hilum, end, 4))
    aerated = 1 - 0.7 * scene.canvas.stroke([(np.array(bronchi), 0.009, 1.0)], 0.002)
    scene.opacify(scene.canvas.enlarged(lobe) * scene.lungs[side] * aerated * (0.36 + 0.5 * severity))


def _pneumothorax(scene: Scene, place: np.random.Generator, severity: float) -> None:
    """The lung retracted from wall and apex: dark without markings outside it, the visceral pleura as a thin line."""
    side = either_side(place)
    outline = scene.anatomy.lung_outline(side)
    gap = 0.035 + 0.135 * severity
    apical = np.clip((0.62 - outline[:, 1]) / 0.4, 0.25, 1)[:, None]  # air collects at the top of an upright patient
    inwards = np.array(scene.anatomy.hilum(side)) - outline
    inwards /= np.linalg.norm(inwards, axis=1, keepdims=True)
    collapsed = outline + inwards * gap * apical
    inside = scene.canvas.fill([collapsed], 0.002)
    free = scene.lungs[side] * (1 - inside)
    scene.markings *= 1 - free
    scene.air *= 1 + (0.22 + 0.25 * severity) * free
    scene.opacify(cv2.multiply(inside, scene.lungs[side]) * (0.06 + 0.24 * severity))
    edge = np.concatenate([collapsed[-2:], collapsed[:15]])
    scene.opacify(scene.canvas.stroke([(edge[None], 0.005, 1.0)]) * 0.5)


PAINT: dict[str, Callable[[Scene, np.random.Generator, float], None]] = {
    "Pneumothorax": _pneumothorax,
    "Emphysema": _emphysema,
    "Edema": _edema,
    "Infiltration": _infiltration,
    "Fibrosis": _fibrosis,
    "Pneumonia": _pneumonia,
    "Consolidation": _consolidation,
    "Atelectasis": _atelectasis,
    "Mass": _mass,
    "Nodule": _nodule,
    "Pleural_Thickening": _pleural_thickening,
    "Effusion": _effusion,
    "Hernia": _hernia,
}
