"""The layouts of the raw datasets that `dygait prepare` supports."""

from dygait.preprocess.rules import Layout, Rule

_CASIA_B_TYPE = r"(?P<type>(?:nm|bg|cl)-\d\d)"
_FRAME = r"(?P<frame>[^/]+)\.(?i:png)$"
_GREW_FRAME = r"(?P<view>[^/]+)/(?P<frame>(?![^/]*gei\.)[^/]+)\.(?i:png)$"  # the average `...gei.png` is beside frames
_SUSTECH1K = r"(?:^|/)(?P<id>\d{4})/(?P<type>\d\d-[^/]+)/(?P<view>\d{3}[^/]*)"
_ANY_FRAME = r"(?P<frame>[^/]+)\.[A-Za-z]+$"

ANY_VIEW = "any"
"""The view of the sequences of a tree without a folder for it."""

_LAYOUTS = (
    # 124 people, 11 views; a tar.gz for each id in one zip.
    Layout(
        name="CASIA-B",
        rules=(
            Rule(rf"(?:^|/)(?P<id>\d{{3}})-{_CASIA_B_TYPE}-(?P<view>\d{{3}})-(?P<frame>\d+)\.(?i:png)$"),
            Rule(rf"(?:^|/)(?P<id>\d{{3}})/{_CASIA_B_TYPE}/(?P<view>\d{{3}})/{_FRAME}"),
        ),
        example="001/nm-01/090/001-nm-01-090-001.png",
    ),
    # 10,307 people, 14 views; an encrypted zip for each view and walk.
    Layout(
        name="OUMVLP",
        rules=(Rule(rf"(?:^|/)Silhouette_(?P<view>\d{{3}})-(?P<type>\d\d)/(?P<id>\d{{5}})/{_FRAME}"),),
        example="Silhouette_000-00/00001/0001.png",
    ),
    # About 26,000 people outdoors; a tgz for each id in a tgz in an encrypted zip, silhouettes of 64x64.
    Layout(
        name="GREW",
        rules=(
            Rule(rf"(?:^|/)train/(?:\d{{5}}/)?(?P<id>\d{{5}})/{_GREW_FRAME}", id="{id}train", type="00"),
            Rule(
                rf"(?:^|/)gallery/(?:\d{{5}}/)?(?P<id>\d{{5}})/{_GREW_FRAME}",
                type="{order}",
                group_format="gallery {id}",
            ),
            Rule(rf"(?:^|/)probe/(?:[^/]+/)*?{_GREW_FRAME}", id="probe", type="03"),
        ),
        example="train/00001/4XPn5Z28/00001.png",
        ignored=r"(?:^|/)distractor(?:[./]|$)|gei\.(?i:png)$",
        normalised=True,
    ),
    # 4,000 people in a supermarket, silhouettes beside other modalities.
    Layout(
        name="Gait3D",
        rules=(Rule(rf"(?:^|/)(?P<id>\d{{4}})/(?P<type>[^/]+)/(?P<view>[^/]+)/{_FRAME}"),),
        example="2D_Silhouettes/0000/camid0_videoid2/seq0/human_crop_f11627.png",
        ignored=r"(?:^|/)(?:2D_(?!Silhouettes)|3D_)[^/]*",
    ),
    # 20 people, three views, four walks of each.
    Layout(
        name="CASIA-A",
        rules=(Rule(rf"(?:^|/)(?P<id>[A-Za-z]\w*)/(?P<view>\d\d)_(?P<walk>\d)/{_FRAME}", type="nm-{walk:0>2}"),),
        example="fyc/00_1/fyc-00_1-001.png",
    ),
    # 200 people in changing clothes on ten cameras; silhouettes beside colour pictures.
    Layout(
        name="CCPG",
        rules=(Rule(rf"(?:^|/)(?P<id>\d{{3}})/(?P<type>U\d_D\d(?:_BG)?)/(?P<view>[^/]+)/{_FRAME}"),),
        example="CCPG_G_SIL/000/U0_D0/00_0/0001.png",
        ignored=r"(?:^|/)CCPG_D_",
    ),
    # 1,050 people before a camera and a LiDAR sensor: pickles of each modality, or pictures.
    Layout(
        name="SUSTech1K",
        rules=(
            Rule(rf"{_SUSTECH1K}/(?P<frame>\d\d-(?!sync-)[^/]*-Camera-Sils_aligned)\.pkl$"),
            Rule(rf"{_SUSTECH1K}/Sils_aligned/{_FRAME}"),
        ),
        example="SUSTech1K-Released-pkl/0000/00-nm/000/06-000-Camera-Sils_aligned.pkl",
        ignored=r"/(?:PCDs\w*|Pose|RGB_raw|Sils_raw)(?:/|$)|/\d\d-(?:sync-[^/]*|[^/]*(?<!-Camera-Sils_aligned))\.pkl$",
        normalised=True,
        suffixes=(".png", ".pkl"),
    ),
    # 971 people in 53 covariates from 33 views: pickles of silhouettes, body parts and poses.
    Layout(
        name="CCGR-Mini",
        rules=(Rule(r"(?:^|/)(?P<id>\d{1,4})/(?P<type>[A-Z]+\d+)/(?P<view>[^/]+)/(?P<frame>[^/]*sil[^/]*)\.pkl$"),),
        example="CCGR_MINI_SIL_PAR_POSE/CCGR-MINI/1/NM1/90_3.avi/90_3.avisil-1.pkl",
        ignored=r"/(?![^/]*sil)[^/]*\.pkl$",
        normalised=True,
        suffixes=(".pkl",),
    ),
    # 1,195 people outdoors before a camera and a LiDAR sensor: a folder with a pickle for each modality.
    Layout(
        name="FreeGait",
        rules=(
            Rule(r"(?:^|/)(?P<id>\d{4})/(?P<type>devid[^/]*)/(?P<view>seq[^/]*)/(?:image/)?(?P<frame>image)\.pkl$"),
        ),
        example="FreeGait/0001/devid_3/seq_00_new/image/image.pkl",
        ignored=r"/(?:lidar|range_pkl|smpl|kp3d)(?:/|\.pkl$|$)",
        normalised=True,
        suffixes=(".pkl",),
    ),
    # The user's own masks.
    Layout(
        name="folders",
        rules=(
            Rule(rf"^[^/]+/(?P<id>[^/]+)/(?P<type>[^/]+)/(?P<view>[^/]+)/{_ANY_FRAME}"),
            Rule(rf"^[^/]+/(?P<id>[^/]+)/(?P<type>[^/]+)/{_ANY_FRAME}", view=ANY_VIEW),
        ),
        example="DIR/<id>/<type>/<view>/001.png",
        suffixes=(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"),
        own=True,
    ),
)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _LAYOUTS}
