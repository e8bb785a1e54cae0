"""Gait3D: 4,000 people in a supermarket, silhouettes beside other modalities."""

from dygait.preprocess.layout import Layout, Rule

LAYOUT = Layout(
    name="Gait3D",
    rules=(Rule(r"(?:^|/)(?P<id>\d{4})/(?P<type>[^/]+)/(?P<view>[^/]+)/(?P<frame>[^/]+)\.(?i:png)$"),),
    example="2D_Silhouettes/0000/camid0_videoid2/seq0/human_crop_f11627.png",
    ignored=r"(?:^|/)(?:2D_(?!Silhouettes)|3D_)[^/]*",
)
