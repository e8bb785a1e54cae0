"""The world of SynGait: knobs of people, wardrobe, cameras, frame rate and segmentation.

One frozen model per section of `data_cfg.syngait`. The defaults are those of the presets `quick` and `full`;
`presets.py` has the worlds of the presets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from typing_extensions import Self

from dygait.config_problems import SettingsError, validation_problems

Count = Annotated[int, Field(ge=0, le=99)]
Share = Annotated[float, Field(ge=0, le=1)]


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("give the smaller number first")
    return value


Range = Annotated[
    tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], Strict(False), AfterValidator(_ordered)
]
"""The bounds of a uniform distribution."""


class Knobs(BaseModel):
    """A section of knobs, hashable; only knobs that were set are serialised."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, protected_namespaces=(), allow_inf_nan=False, validate_default=True
    )

    @model_serializer(mode="wrap")
    def _only_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in self.model_fields_set}


class People(Knobs):
    """The subjects, and their variation between subjects and between walks."""

    differ: Literal["both", "gait", "body"] = Field(
        "both",
        description="The properties in which subjects differ: `gait`: only gait and posture, with one body and one set "
        "of clothes for all; `body`: only body and clothes, with one gait for all; `both`. With `gait` or `body`, all "
        "have the same bag.",
    )
    walks: Annotated[tuple[Count, Count, Count], Strict(False)] = Field(
        (6, 2, 2),
        description="Number of walks of each subject of the types `nm`, `bg` and `cl`; at least one in total.",
    )
    variety: float = Field(
        1.0, ge=0, le=2, description="Factor on the spread of bodies and gaits between subjects; 0: all are alike."
    )
    within: float = Field(
        1.0, ge=0, le=5, description="Factor on the spread between walks of one subject: gait, speed, heading, offset."
    )
    gait_variety: float = Field(
        1.0, ge=0, le=2, description="Factor on the spread of gaits between subjects, in addition to `variety`."
    )
    calibrated: float = Field(
        0.0,
        ge=0,
        le=1.5,
        description="Shift of the means of body and gait, and without outfits those of clothes, coats and bags, to "
        "those of real silhouettes in all views; 1: the whole difference, as `scripts/fit_walkers.py` finds it.",
    )
    covariance: Share = Field(
        0.0,
        description="Share of the measured variation between subjects, in which traits vary together as those of real "
        "people do (`scripts/fit_covariance.py`), and half as much independently; differences of women and men are in "
        "it. 0: independently.",
    )
    dimorphism: float = Field(
        0.0,
        ge=0,
        le=2,
        description="Difference between bodies and gaits of women and men, half of the subjects each; 1: as published.",
    )
    children: Share = Field(0.0, description="Share of children of 4 to 16 years: stature, proportions, cadence.")
    old: Share = Field(0.0, description="Share of people of 65 to 88: shorter and slower steps, stooped.")
    heavy: Share = Field(0.0, description="Share of overweight people, 1.5 to 3.5 standard deviations of build.")
    impaired: Share = Field(
        0.0, description="Share of gaits changed by illness: limp, stiff knee, waddling, shuffling, drop foot."
    )

    @property
    def types(self) -> tuple[str, ...]:
        """The names of the walks of a subject."""
        counts = zip(("nm", "bg", "cl"), self.walks, strict=True)
        return tuple(f"{kind}-{number:02d}" for kind, count in counts for number in range(1, count + 1))


class Wardrobe(Knobs):
    """Clothes and carried things of the subjects. All knobs but `outfits` need `outfits` of at least 1."""

    outfits: int = Field(
        0,
        ge=0,
        le=50,
        description="Number of outfits of each subject: the first is worn in `nm` and `bg`, one of the others in each "
        "walk of `cl`. 0: as in CASIA-B, everyday clothes, with a bag in `bg` and a coat in `cl`.",
    )
    coats: Share = Field(
        0.0, description="Probability that an outfit has a jacket or a coat; half of that for the first outfit."
    )
    long_coats: Share = Field(0.0, description="Share of the coats that reach to the knees or the shins.")
    open_coats: Share = Field(0.0, description="Share of the coats that are open, and flap.")
    skirts: Share = Field(
        0.0,
        description="Probability that a woman's outfit is a skirt or a dress, of any length; a man's: a tenth of it.",
    )
    shorts: Share = Field(0.0, description="Probability that trousers are short.")
    bare_arms: Share = Field(0.0, description="Probability that sleeves are short.")
    hats: Share = Field(0.0, description="Probability of a cap, a hat, a woollen hat or a hood.")
    heels: Share = Field(0.0, description="Probability that a woman's shoes have high heels.")
    boots: Share = Field(0.0, description="Probability of boots.")
    carried: Share = Field(
        0.0,
        description="Probability that the subject carries something in a walk of `cl`, as always in `bg`: a backpack, "
        "a shoulder bag, a handbag, a crossbody bag, a box in both arms, a trolley, an umbrella.",
    )
    umbrellas: Share = Field(0.0, description="Share of open umbrellas among carried things.")
    hands: Share = Field(
        0.0, description="Probability, in every walk, of a phone at the ear or in front, or of pockets."
    )


class Cameras(Knobs):
    """Positions of the cameras, and paths of the subjects. A camera is drawn for each sequence."""

    anywhere: Share = Field(
        0.0, description="Share of the sequences that are seen from any direction, instead of their view's."
    )
    deviation: float = Field(
        0.0, ge=0, le=45, description="Standard deviation of the direction from that of the view, in degrees."
    )
    mirrored: Share = Field(0.0, description="Share of the sequences seen from the other side, walking to the right.")
    height: Range | None = Field(None, description="Height of the camera in metres. Null: 0.9 to 1.6, by view.")
    distance: Range | None = Field(
        None, description="Distance to the nearest point of the walk in metres, at least 2.2. Null: about 6.4."
    )
    pitch: float = Field(40.0, ge=0, le=80, description="The largest downward angle in degrees; it bounds `height`.")
    roll: float = Field(0.0, ge=0, le=20, description="Standard deviation of the camera's roll, in degrees.")
    aim: float = Field(
        0.0, ge=0, le=2, description="Standard deviation of the camera's target from the middle of the walk, in metres."
    )
    pixels: Range | None = Field(
        None,
        description="Height in pixels of a subject of 1.7 m in the middle of the walk, which determines the focal "
        "length. Null: about 100.",
    )
    curve: float = Field(
        0.0, ge=0, le=30, description="The largest curvature of a walk, to the left or right, in degrees per metre."
    )
    displacement: float = Field(
        0.0,
        ge=0,
        le=1.5,
        description="Share of a smooth displacement of the normalised frames of each view, by which mean silhouettes "
        "become those of CASIA-B's cameras (`scripts/fit_displacements.py`). It needs the cameras and the segmentation "
        "of `quick`.",
    )
    metres: float = Field(
        4.0, gt=0, le=20, description="Length of the walk that the camera sees; faster subjects have fewer frames."
    )


class FrameRate(Knobs):
    """Frames per second."""

    per_second: Range = Field((25.0, 25.0), description="Drawn for each walk, uniformly on a logarithmic scale.")

    @field_validator("per_second")
    @classmethod
    def _possible(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 5 <= value[0] <= value[1] <= 120:
            raise ValueError("give two numbers between 5 and 120")
        return value


class Segmentation(Knobs):
    """Segmentation and normalisation of the silhouettes, drawn for each sequence."""

    subtraction: float = Field(
        1.0, ge=0, description="Weight of background subtraction: ragged outlines, holes, missing parts, specks."
    )
    network: float = Field(
        0.0,
        ge=0,
        description="Weight of networks: smooth outlines, closed gaps, missing parts or bags, and delay (a mixture "
        "with the previous frame).",
    )
    strength: Range = Field((1.0, 1.0), description="Strength of the faults of both; 0: few, 1: as in CASIA-B, 3: bad.")
    shadow: Share = Field(
        0.0, description="Share of background subtraction's sequences in which shadows of the legs are segmented, too."
    )
    smoothing: Share = Field(0.0, description="Share of the sequences that are smoothed by a median filter of 3 or 5.")
    motion_blur: Share = Field(
        0.0, description="Share of the sequences with motion blur, due to an exposure of up to a whole frame."
    )
    occlusion: Share = Field(
        0.0,
        description="Share of the sequences in which furniture, a post or the picture's edge temporarily hides a part.",
    )
    box_error: float = Field(
        0.0,
        ge=0,
        le=0.2,
        description="Standard deviation of the errors of the box for normalisation (top, bottom, centre), as a "
        "fraction of the height.",
    )
    edge_specks: Share = Field(
        0.0,
        description="Share of the sequences in some of whose frames a speck above or below the body makes it smaller.",
    )
    binary: Share = Field(0.0, description="Share of the sequences whose normalised frames are two-valued.")

    @model_validator(mode="after")
    def _some_kind(self) -> Self:
        if self.subtraction + self.network <= 0:
            raise ValueError("subtraction and network: give at least one of them a positive weight")
        return self


class World(Knobs):
    """Knobs of SynGait's data, for the addresses in `dataset_root`; they replace those of the address's preset."""

    people: People = Field(People(), description="See `data_cfg.syngait.people`.")
    wardrobe: Wardrobe = Field(Wardrobe(), description="See `data_cfg.syngait.wardrobe`.")
    cameras: Cameras = Field(Cameras(), description="See `data_cfg.syngait.cameras`.")
    frame_rate: FrameRate = Field(FrameRate(), description="See `data_cfg.syngait.frame_rate`.")
    segmentation: Segmentation = Field(Segmentation(), description="See `data_cfg.syngait.segmentation`.")

    @property
    def is_plain(self) -> bool:
        """Whether cameras and segmentation are those of `quick` and `full`, whose pictures are defined to the pixel."""
        cameras = self.cameras.model_copy(update={"displacement": 0.0})
        return cameras == Cameras() and self.segmentation == Segmentation()

    @model_validator(mode="after")
    def _displaced_views(self) -> Self:
        if self.cameras.displacement and not self.is_plain:
            raise ValueError("cameras.displacement: leave the other knobs of cameras and segmentation as they are")
        return self

    def replaced(self, changes: Mapping[str, Any]) -> World:
        """Return a world with some knobs replaced.

        Args:
            changes: section -> knob -> value, as in YAML.

        Raises:
            SettingsError: an unknown key or an invalid value.
        """
        base = self.model_dump()
        merged = base | {
            name: base.get(name, {}) | dict(new) if isinstance(new, Mapping) else new for name, new in changes.items()
        }
        try:
            return World.model_validate(merged)
        except ValidationError as error:
            raise SettingsError(validation_problems(error, World)) from None

    def differences(self, other: World) -> dict[str, str]:
        """Return the knobs that differ from another world's, as in an address: `section.knob` -> text."""
        return {
            f"{section}.{key}": _text(value)
            for section in World.model_fields
            for key in getattr(self, section).__class__.model_fields
            if (value := getattr(getattr(self, section), key)) != getattr(getattr(other, section), key)
        }


def parse_knob(text: str) -> Any:
    """Parse the value of a knob in an address: a number, a word, `true`, `false`, `none`, or a list with commas."""
    if "," in text:
        return [parse_knob(part) for part in text.split(",")]
    words = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
