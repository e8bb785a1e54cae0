"""CASIA-A: 20 people, three views, four walks of each."""

from dygait.preprocess.layout import Layout, Rule

LAYOUT = Layout(
    name="CASIA-A",
    rules=(
        Rule(
            r"(?:^|/)(?P<id>[A-Za-z]\w*)/(?P<view>\d\d)_(?P<walk>\d)/(?P<frame>[^/]+)\.(?i:png)$",
            type="nm-{walk:0>2}",
        ),
    ),
    example="fyc/00_1/fyc-00_1-001.png",
)
