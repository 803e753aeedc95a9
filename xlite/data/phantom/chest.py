"""Draws one frontal chest radiograph of the phantom: anatomy, findings, exposure."""

from dataclasses import replace

import cv2
import numpy as np

from xlite.data.phantom.chest_anatomy import LEFT, RIGHT, Anatomy, draw_anatomy, vessel_tree
from xlite.data.phantom.chest_canvas import Canvas, ellipse_outline
from xlite.data.phantom.chest_exposure import develop, draw_exposure, inscribe, wires
from xlite.data.phantom.chest_records import FINDINGS, Picture
from xlite.data.phantom.chest_reshape import RESHAPE
from xlite.data.phantom.chest_scene import Scene
from xlite.data.phantom.chest_signs import PAINT

_ANATOMY, _PLACES, _EXPOSURE, _NOISE = range(4)  # independent random streams


def _stream(seed: int, *keys: int) -> np.random.Generator:
    return np.random.default_rng([seed, *keys])


def draw_chest(picture: Picture, *, seed: int, image_px: int = 256) -> np.ndarray:
    """Draw one radiograph, (image_px, image_px) uint8, bright where dense: a pure function of its arguments.

    Args:
        picture: the patient decides the anatomy and the position of each finding; the follow-up decides positioning,
            exposure and noise.
        seed: of the data set.
        image_px: side in pixels, at least 64 and a multiple of 4.
    """
    patient, follow_up, severities, portable = picture.patient, picture.follow_up, picture.severities, picture.portable
    anatomy = draw_anatomy(_stream(seed, patient, _ANATOMY), female=picture.female)
    exposure = draw_exposure(_stream(seed, patient, _EXPOSURE, follow_up), image_px=image_px, portable=portable)
    anatomy = replace(anatomy, dome_y=(anatomy.dome_y[0] + exposure.breath, anatomy.dome_y[1] + exposure.breath))
    if portable:  # AP: the heart is nearer to the tube and appears larger
        anatomy = replace(anatomy, heart=(anatomy.heart[0] * 1.06, anatomy.heart[1] * 1.06))
    for name, reshape in RESHAPE.items():
        if name in severities:
            anatomy = reshape(anatomy, _places(seed, patient, name), severities[name])
    scene = _empty_scene(exposure.canvas, anatomy)
    for name, paint in PAINT.items():
        if name in severities:
            paint(scene, _places(seed, patient, name), severities[name])
    film = _project(scene, _stream(seed, patient, _ANATOMY, 1))
    noise = _stream(seed, patient, _NOISE, follow_up)
    if portable:
        film += 0.28 * wires(noise, exposure.canvas)
    return inscribe(develop(film, exposure, noise), exposure)


def _places(seed: int, patient: int, name: str) -> np.random.Generator:
    return _stream(seed, patient, _PLACES, FINDINGS.index(name))


def _empty_scene(canvas: Canvas, anatomy: Anatomy) -> Scene:
    size = (canvas.px, canvas.px)
    return Scene(
        canvas,
        anatomy,
        lungs={side: canvas.fill([anatomy.lung_outline(side)], 0.003) for side in (RIGHT, LEFT)},
        water=np.zeros(size, np.float32),
        markings=np.ones(size, np.float32),
        air=np.ones(size, np.float32),
        density=np.zeros(size, np.float32),
    )


def _project(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The film's density, about 0 (air) to 1.2 (bone over mediastinum): tissue minus air in the lungs, plus bones."""
    canvas, anatomy = scene.canvas, scene.anatomy
    film = _trunk(canvas, anatomy)
    vessels = canvas.stroke(vessel_tree(rng, anatomy, RIGHT) + vessel_tree(rng, anatomy, LEFT), 0.0015)
    hila = [ellipse_outline(anatomy.hilum(side), (0.026, 0.05), side * 0.25) for side in (RIGHT, LEFT)]
    vessels *= 0.34 * anatomy.markings
    vessels += (0.22 * anatomy.markings) * canvas.fill(hila, 0.014)
    scene.opacify(np.clip(vessels * scene.markings, 0, 0.8))
    lungs = np.minimum(scene.lungs[RIGHT] + scene.lungs[LEFT], 1)
    depth = cv2.GaussianBlur(
        cv2.resize(lungs, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), (0, 0), canvas.px / 90
    )
    air = lungs * canvas.enlarged(0.42 + 0.58 * depth)
    air *= anatomy.air * scene.air * (1 - scene.water)
    air *= 1 - 0.88 * canvas.fill([anatomy.heart_outline(), *anatomy.mediastinum_outlines()], 0.004)
    film -= air
    film += _bones(canvas, anatomy, canvas.enlarged(0.35 + 0.65 * depth))
    film += scene.density
    return film


def _trunk(canvas: Canvas, anatomy: Anatomy) -> np.ndarray:
    """Soft tissue, abdomen, breasts, windpipe, gastric bubble and spine."""
    x, y = canvas.grid
    flesh = _spine(canvas, anatomy) + anatomy.flesh + 0.12 * np.exp(-((x / 0.15) ** 2)) + 0.05 * np.clip(y, 0, 1)
    dome = np.where(x < 0, anatomy.dome_y[0], anatomy.dome_y[1])
    flesh += 0.24 / (1 + np.exp(-(y - dome) / 0.03))
    flesh -= 0.10 * np.exp(-((x / 0.018) ** 2)) / (1 + np.exp((y - 0.36) / 0.02))  # the windpipe
    if anatomy.bubble:
        height = (y - dome - 0.035 - 0.45 * anatomy.bubble) / (anatomy.bubble * 0.65)  # flat below: air above fluid
        level = np.clip((0.45 - height) / 0.2, 0, 1)
        flesh -= 0.26 * level * np.clip(2.5 - 2 * (((x - 0.17) / anatomy.bubble) ** 2 + height**2), 0, 1)
    tissue = canvas.fill([anatomy.torso_outline()], 0.012) * canvas.enlarged(flesh)
    if anatomy.breast:
        size = anatomy.breast
        breasts = [ellipse_outline((side * 0.225, 0.60), (size * 1.15, size), side * -0.2) for side in (RIGHT, LEFT)]
        tissue += (0.02 + 0.65 * size) * canvas.fill(breasts, 0.006) * np.minimum(1, tissue)
    return tissue


def _bones(canvas: Canvas, anatomy: Anatomy, inside: np.ndarray) -> np.ndarray:
    """Ribs, clavicles, shoulder blades and humeral heads, as added density; ribs are faint where `inside` is low."""
    width, rise = anatomy.rib_width, np.array([0, anatomy.rib_width / 2])
    back, front = anatomy.posterior_ribs(), anatomy.anterior_ribs()
    back_edges, front_edges = (np.concatenate([ribs - rise, ribs + rise]) for ribs in (back, front))
    bones = 0.12 * canvas.stroke([(back, width, 0.48), (back_edges, 0.003, 1.0)], 0.0015)
    bones += 0.07 * canvas.stroke([(front, width, 0.45), (front_edges, 0.0025, 0.9)], 0.0015)
    bones *= inside
    bones += 0.09 * canvas.stroke([(anatomy.clavicles(), 0.026, 1.0)], 0.003)
    blade = np.array([(0.27, 0.015), (0.30, 0.115), (0.34, 0.285), (0.40, 0.225), (0.46, 0.035)])
    outlines = [(blade + np.array([0, anatomy.apex_y])) * (side, 1) for side in (RIGHT, LEFT)]
    outlines += [ellipse_outline((side * 0.475, anatomy.apex_y + 0.055), (0.045, 0.05)) for side in (RIGHT, LEFT)]
    bones += 0.10 * canvas.fill(outlines, 0.006, (0.5, 0.5, 1, 1))
    return bones


def _spine(canvas: Canvas, anatomy: Anatomy) -> np.ndarray:
    """Vertebrae and discs on the coarse grid."""
    x, y = canvas.grid
    bow = anatomy.spine_bend * np.sin(np.pi * y)
    column = np.clip((0.036 - np.abs(x - bow)) / 0.012, 0, 1)
    discs = 0.5 + 0.5 * np.cos(2 * np.pi * (y - anatomy.apex_y) / 0.058)
    return column * (0.075 - 0.035 * discs**4)
