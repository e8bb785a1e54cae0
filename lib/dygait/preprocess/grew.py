"""GREW: about 26,000 people outdoors; a tgz for each id in a tgz in an encrypted zip, silhouettes of 64x64."""

from dygait.preprocess.layout import Layout, Rule

# Averages of a sequence, `...gei.png`, are beside its frames.
_FRAME = r"(?P<view>[^/]+)/(?P<frame>(?![^/]*gei\.)[^/]+)\.(?i:png)$"

LAYOUT = Layout(
    name="GREW",
    rules=(
        Rule(r"(?:^|/)train/(?:\d{5}/)?(?P<id>\d{5})/" + _FRAME, id="{id}train", type="00"),
        Rule(r"(?:^|/)gallery/(?:\d{5}/)?(?P<id>\d{5})/" + _FRAME, type="{order}", group_format="gallery {id}"),
        Rule(r"(?:^|/)probe/(?:[^/]+/)*?" + _FRAME, id="probe", type="03"),
    ),
    example="train/00001/4XPn5Z28/00001.png",
    ignored=r"(?:^|/)distractor(?:[./]|$)|gei\.(?i:png)$",
    normalised=True,
)
