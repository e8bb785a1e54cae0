"""The worlds of the presets `quick`, `full` and `wild`: people, wardrobe, cameras, frame rate and segmentation."""

from __future__ import annotations

from dygait.synthetic.world import Cameras, FrameRate, People, Segmentation, Wardrobe, World

CASIA = World()
"""The world of `quick` and `full`, with the conditions of CASIA-B."""

WILD = World(
    people=People(
        walks=(4, 3, 5),
        gait_variety=0.8,
        within=1.5,
        calibrated=1.0,
        dimorphism=1.0,
        children=0.06,
        old=0.1,
        heavy=0.08,
        impaired=0.04,
    ),
    wardrobe=Wardrobe(
        outfits=5,
        coats=0.5,
        long_coats=0.3,
        open_coats=0.25,
        skirts=0.25,
        shorts=0.15,
        bare_arms=0.3,
        hats=0.15,
        heels=0.2,
        boots=0.12,
        carried=0.35,
        umbrellas=0.03,
        hands=0.2,
    ),
    cameras=Cameras(
        anywhere=0.3,
        deviation=6.0,
        mirrored=0.5,
        height=(0.5, 4.0),
        distance=(3.0, 10.0),
        roll=2.0,
        aim=0.3,
        pixels=(35.0, 250.0),
        curve=6.0,
        metres=6.0,
    ),
    frame_rate=FrameRate(per_second=(15.0, 35.0)),
    segmentation=Segmentation(
        network=1.0,
        strength=(0.4, 2.2),
        shadow=0.2,
        smoothing=0.15,
        motion_blur=0.1,
        occlusion=0.1,
        box_error=0.008,
        edge_specks=0.05,
        binary=0.2,
    ),
)
"""The world of `wild`, which varies widely, to train networks for real people."""
