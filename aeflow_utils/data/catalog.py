"""The data sets, declared: layout, official counts, licence, where to get them, how to split.

Adding one is an entry in `SPECS` and a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from aeflow_utils.data.depth import WHITE
from aeflow_utils.data.layouts import Scan, by_path, ground_truth, scan_elpv, scan_isic
from aeflow_utils.data.splits import Split, block_split, official, random_split
from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths

Counts = dict[tuple[str, int], int]
# Whose official counts are of the split that the study tests on; elsewhere it is "test".
TEST_SPLIT = {"isic2018": "val"}


@dataclass(frozen=True)
class Archive:
    """A file that a data set's authors serve; no SHA-256 where nobody has published one."""

    url: str
    sha256: str = ""

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class DatasetSpec:
    """One data set.

    Args:
        title: name in tables and figures.
        shows: what is on its images, the normal and the abnormal ones.
        domain: ``medical`` or ``industrial``.
        scan: lists every image under the root for a category, with the official split.
        splits: the study's split, under "", and named alternatives.
        counts: official number of images by category, then by (split, label).
        notes: what there is to know of a reader's own images, as they were found.
        copies: such counts by name, where several official copies are about; `counts` is the first.
        licence, citation, how_to_get: said to the reader.
        grey: stored as one channel and repeated to three for the encoder.
        white: the value that is white in images of more than 8 bits.
        folders: names it may have in the data folder; empty for ELPV, which is installed.
        mask: candidates for the mask of an abnormal image, given its path; None for sets without
            pixel truth.
        archives: what `data fetch` downloads and unpacks into the first of `folders`; empty where
            the authors' host cannot be asked by a program.
    """

    title: str
    shows: str
    domain: str
    scan: Scan
    splits: dict[str, Split]
    counts: dict[str, Counts]
    licence: str
    citation: str
    how_to_get: str
    grey: bool = False
    white: float = WHITE
    folders: tuple[str, ...] = ()
    mask: Callable[[str], list[str]] | None = None
    archives: tuple[Archive, ...] = ()
    copies: dict[str, dict[str, Counts]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Products of a set that has several, else one empty name."""
        return tuple(self.counts)

    @property
    def root(self) -> Path:
        """Folder that holds the images: the deepest of `folders` that exists, else the first."""
        if not self.folders:
            here = find_spec("elpv_dataset")  # no part of an install that only reads results
            return Path(here.origin).parent / "data" if here else paths().data / "elpv_dataset"
        candidates = [paths().data / folder for folder in self.folders]
        present = [folder for folder in candidates if folder.is_dir()]
        return max(present, key=lambda folder: len(folder.parts), default=candidates[0])


def _counts(**splits: tuple[int, ...]) -> Counts:
    """From the number of normal images of each split and, where it has any, of abnormal ones."""
    return {(split, label): n for split, pair in splits.items() for label, n in enumerate(pair)}


# fmt: off
_MVTEC = {  # train good, test good, test defective: 5,354 in all
    "bottle": (209, 20, 63), "cable": (224, 58, 92), "capsule": (219, 23, 109),
    "carpet": (280, 28, 89), "grid": (264, 21, 57), "hazelnut": (391, 40, 70),
    "leather": (245, 32, 92), "metal_nut": (220, 22, 93), "pill": (267, 26, 141),
    "screw": (320, 41, 119), "tile": (230, 33, 84), "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40), "wood": (247, 19, 60), "zipper": (240, 32, 119),
}
# fmt: on
_ISIC_URL = "https://isic-challenge-data.s3.amazonaws.com/2018/ISIC2018_Task3_"
_ISIC_FILES = ["Training_LesionGroupings.csv"]
for _part in ("Training", "Validation", "Test"):
    _ISIC_FILES += [f"{_part}_Input.zip", f"{_part}_GroundTruth.zip"]
_CHEST = {  # the Kaggle repack took val/ from the training images
    "Mendeley V2": {"": _counts(train=(1349, 3883), test=(234, 390))},
    "Kaggle": {"": _counts(train=(1341, 3875), val=(8, 8), test=(234, 390))},
}
_BTAD = {"01": (400, 21, 49), "02": (399, 30, 200), "03": (1000, 400, 41)}  # 2,540 in the archive

SPECS: dict[str, DatasetSpec] = {
    "elpv": DatasetSpec(
        title="ELPV solar cells",
        shows="electroluminescence of solar cells; intact, or defective",
        domain="industrial",
        grey=True,
        scan=scan_elpv,
        splits={"": random_split, "blocks": block_split},
        counts={"": _counts(pool=(1508, 715), doubtful=(295, 106))},
        licence="CC BY-NC-SA 4.0",
        citation="Buerhop-Lutz et al., EU PVSEC 2018; Deitsch et al., Solar Energy 185, 2019",
        how_to_get="pip install elpv-dataset==1.0.0.post1",
    ),
    "chest_xray": DatasetSpec(
        title="Chest X-ray",
        shows="chest radiographs of children; clear lungs, or pneumonia",
        domain="medical",
        grey=True,
        folders=("chest_xray",),
        scan=by_path(
            r"(?P<split>train|val|test)/(?P<label>NORMAL|PNEUMONIA)/"
            r"(?:(?:[^/]*_)?(?P<kind>bacteria|virus|BACTERIA|VIRUS)[_-])?[^/]+",
            normal="NORMAL",
            # The Kaggle repack's names, then Mendeley's (disease)-(patient)-(number).
            group=r"(?:NORMAL2-)?IM-\d+|person\d+|(?:NORMAL|BACTERIA|VIRUS)-\d+",
        ),
        splits={"": official(val_share=0.15, val_abnormal=True)},
        counts=_CHEST["Mendeley V2"],
        copies=_CHEST,
        licence="CC BY 4.0",
        citation="Kermany et al., Cell 172, 2018",
        how_to_get="download it from data.mendeley.com/datasets/rscbjbr9sj (V2), or "
        "chest-xray-pneumonia from Kaggle, and put the folder chest_xray/ with its train/ and "
        "test/ into the data folder",
    ),
    "oct2017": DatasetSpec(
        title="OCT2017",
        shows="cross-sections of the retina; healthy, or CNV, DME or drusen",
        domain="medical",
        grey=True,
        folders=("OCT2017", "oct2017"),
        scan=by_path(
            r"(?P<split>train|val|test)/(?P<label>NORMAL|CNV|DME|DRUSEN)/[^/]+",
            normal="NORMAL",
            group=r"[A-Z]+-(\d+)",
        ),
        splits={"": official(val_share=0.1, val_abnormal=True)},
        counts={"": _counts(train=(26315, 57169), val=(8, 24), test=(242, 726))},
        licence="CC BY 4.0",
        citation="Kermany et al., Cell 172, 2018",
        how_to_get="download it from data.mendeley.com/datasets/rscbjbr9sj and put the folder "
        "OCT2017/ with its train/, val/ and test/ into the data folder",
    ),
    "isic2018": DatasetSpec(
        title="ISIC 2018",
        shows="dermatoscopy of pigmented lesions; naevi, or six other diagnoses",
        domain="medical",
        folders=("isic2018", "ISIC2018"),
        scan=scan_isic,
        splits={
            "": official(val_share=0.1, val_abnormal=True, test="val"),
            "official_test": official(val_share=0.1, val_abnormal=True),
        },
        counts={"": _counts(train=(6705, 3310), val=(123, 70), test=(909, 603))},
        licence="CC BY-NC 4.0",
        citation="Codella et al., arXiv:1902.03368; Tschandl et al., Scientific Data 5, 2018",
        how_to_get="run: python -m aeflow_utils data fetch isic2018, or see "
        "challenge.isic-archive.com/data/#2018",
        archives=tuple(Archive(_ISIC_URL + name) for name in _ISIC_FILES),
    ),
    "miic": DatasetSpec(
        title="MIIC microchips",
        shows="integrated circuits under a microscope; intact, or with a defect",
        domain="industrial",
        grey=True,
        folders=("miic", "MIIC"),
        # Whole names: a glob for normal_*.jpg would find test_abnormal_*.jpg too.
        scan=by_path(
            r"(?:.*/)?(?P<split>train|test)_(?P<label>normal|abnormal)_\d+\.jpg", normal="normal"
        ),
        splits={"": official(val_share=0.1, val_abnormal=False)},
        counts={"": _counts(train=(23888,), test=(1272, 116))},
        licence="non-commercial research only, not redistributable",
        citation="Huang et al., ICIP 2021",
        how_to_get="request it from its authors (doi:10.21979/N9/WBLTFI) and put the images into "
        "miic/ in the data folder",
    ),
    "btad": DatasetSpec(
        title="BTAD",
        shows="three industrial products; intact, or with a defect of body or surface",
        domain="industrial",
        folders=("btad", "btad/BTech_Dataset_transformed", "BTech_Dataset_transformed"),
        scan=by_path(r"[^/]+/(?P<split>train|test)/(?P<label>ok|ko)/[^/]+", normal="ok"),
        splits={"": official(val_share=0.2, val_abnormal=False)},
        counts={name: _counts(train=(n,), test=pair) for name, (n, *pair) in _BTAD.items()},
        licence="CC BY-NC-SA 4.0",
        citation="Mishra et al., ISIE 2021",
        how_to_get="run: python -m aeflow_utils data fetch btad, or see "
        "avires.dimi.uniud.it/papers/btad",
        mask=ground_truth(".png", ".bmp"),  # the ending differs between products
        archives=(
            Archive(
                "https://avires.dimi.uniud.it/papers/btad/btad.zip",
                "461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
            ),
        ),
    ),
    "mvtec": DatasetSpec(
        title="MVTec AD",
        shows="fifteen objects and textures; intact, or with one of several defects",
        domain="industrial",
        folders=("mvtec", "mvtec_anomaly_detection"),
        scan=by_path(r"[^/]+/(?P<split>train|test)/(?P<label>[^/]+)/[^/]+", normal="good"),
        splits={"": official(val_share=0.2, val_abnormal=False)},
        counts={name: _counts(train=(n,), test=pair) for name, (n, *pair) in _MVTEC.items()},
        licence="CC BY-NC-SA 4.0",
        citation="Bergmann et al., CVPR 2019",
        how_to_get="run: python -m aeflow_utils data fetch mvtec, or see mvtec.com",
        mask=ground_truth("_mask.png"),
        archives=(
            Archive(
                "https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/"
                "420938113-1629960298/mvtec_anomaly_detection.tar.xz",
                "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
            ),
        ),
    ),
}


def get_spec(name: str) -> DatasetSpec:
    """The data set called `name`; UserError names the known ones."""
    if name not in SPECS:
        raise UserError(f"unknown data set '{name}': choose one of {', '.join(SPECS)}")
    return SPECS[name]


def parse_label(label: str) -> tuple[str, str]:
    """The key of the data set that a label names, and the rest of the label.

    ``elpv`` gives ("elpv", ""), ``mvtec-bottle`` ("mvtec", "bottle"), ``mvtec, mean of 3``
    ("mvtec", "mean of 3"). A label that names no data set, as of a reader's own, gives ("", label).
    """
    key, _, rest = label.replace(", ", "-", 1).partition("-")
    return (key, rest) if key in SPECS else ("", label)
