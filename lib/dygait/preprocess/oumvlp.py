"""OUMVLP: 10,307 people, 14 views; an encrypted zip for each view and walk."""

from dygait.preprocess.layout import Layout, Rule

LAYOUT = Layout(
    name="OUMVLP",
    rules=(
        Rule(
            r"(?:^|/)Silhouette_(?P<view>\d{3})-(?P<type>\d\d)/(?P<id>\d{5})/(?P<frame>[^/]+)\.(?i:png)$",
        ),
    ),
    example="Silhouette_000-00/00001/0001.png",
)
