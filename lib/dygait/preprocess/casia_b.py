"""CASIA-B: 124 people, 11 views; a tar.gz for each id in one zip."""

from dygait.preprocess.layout import Layout, Rule

_NAME = r"(?P<id>\d{3})-(?P<type>(?:nm|bg|cl)-\d\d)-(?P<view>\d{3})-(?P<frame>\d+)\.(?i:png)$"
_FOLDERS = r"(?:^|/)(?P<id>\d{3})/(?P<type>(?:nm|bg|cl)-\d\d)/(?P<view>\d{3})/(?P<frame>[^/]+)\.(?i:png)$"

LAYOUT = Layout(
    name="CASIA-B",
    rules=(Rule(r"(?:^|/)" + _NAME), Rule(_FOLDERS)),
    example="001/nm-01/090/001-nm-01-090-001.png",
)
