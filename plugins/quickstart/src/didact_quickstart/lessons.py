"""The three lessons of the quickstart: the files of each modality, their stores and their experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs

from didact_quickstart.digits import write_digits
from didact_quickstart.language import write_texts
from didact_quickstart.voices import write_voices


@attrs.frozen(kw_only=True)
class Ingestion:
    """The arguments of the command that makes one store from files.

    Attributes:
        kind: kind of media, as ``didact ingest`` names it.
        files: the file or folder, inside the lesson's data.
        store: the store's name.
        options: further words of the command line, which define the labels.
    """

    kind: str
    files: str
    store: str
    options: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Lesson:
    """One modality, with its files, stores and experiment.

    Attributes:
        modality: ``images``, ``speech`` or ``text``; also the name of its experiment's file.
        data: the training data, for a heading.
        origin: where the data come from, in a sentence.
        judged: the task of the probe, in a sentence.
        classes: number of classes of the probe.
        write: writes the files into a folder.
        ingestions: the stores made of these files.
    """

    modality: str
    data: str
    origin: str
    judged: str
    classes: int
    write: Callable[[Path], None]
    ingestions: tuple[Ingestion, ...]

    @property
    def experiment(self) -> Path:
        """The file of the experiment."""
        return Path(__file__).parent / "experiments" / f"{self.modality}.py"


FOLDER_LABELS = ("--label-from", "folder")
NAME_LABELS = ("--pattern", "(?P<label>[a-z]+)_(?P<speaker>[a-z]+)_")
COLUMN_LABELS = ("--option", "text=text", "--option", "label=label")

LESSONS = (
    Lesson(
        modality="images",
        data="handwritten digits",
        origin="real: the 1,797 scans of 8×8 pixels that come with scikit-learn",
        judged="10 digits, by writers that are not in the training data",
        classes=10,
        write=write_digits,
        ingestions=(
            Ingestion(kind="images", files="train", store="digits-train", options=FOLDER_LABELS),
            Ingestion(kind="images", files="test", store="digits-test", options=FOLDER_LABELS),
        ),
    ),
    Lesson(
        modality="speech",
        data="synthetic voices",
        origin="generated: vowels and diphthongs by formant synthesis, in eight voices, with noise",
        judged="10 syllables (ai or ia?), in two voices that are not in the training data",
        classes=10,
        write=write_voices,
        ingestions=(
            Ingestion(kind="audio", files="train", store="voices-train", options=NAME_LABELS),
            Ingestion(kind="audio", files="test", store="voices-test", options=NAME_LABELS),
        ),
    ),
    Lesson(
        modality="text",
        data="an invented language",
        origin="generated: paragraphs about one of ten subjects, whose words are related only by occurring together",
        judged="10 subjects of sentences, in subject words that no labelled training sentence contains",
        classes=10,
        write=write_texts,
        ingestions=(
            Ingestion(kind="text", files="corpus.txt", store="language"),
            Ingestion(kind="text", files="train.tsv", store="sentences-train", options=COLUMN_LABELS),
            Ingestion(kind="text", files="test.tsv", store="sentences-test", options=COLUMN_LABELS),
        ),
    ),
)
