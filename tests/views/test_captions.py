"""Images with captions: two signals, and zero-shot classification."""

import functools
import io

import numpy as np
import pytest
import torch
from PIL import Image

from didact import AdamW, BatchSize, DataError, Experiment, RunState, SpecError, Training, build_learner, collate, run
from didact.batching import BatchPlan
from didact.building import build_network
from didact.loading import Steps
from didact.randomness import generator
from didact_distill import EMATeacher
from didact_stores import Record
from didact_stores.ingest.writing import write_store
from didact_text import TokenEmbeddings
from didact_transformer import Transformer
from didact_views import (
    MLP,
    CaptionedImages,
    InfoNCE,
    MultiViewAugmentation,
    Projected,
    StudentProjections,
    TeacherProjections,
    ZeroShot,
)
from didact_vision import Images, Patches

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """24 images of one colour each, with its name as the label, and the field ``size``."""
    folder = tmp_path_factory.mktemp("colours") / "store"
    rng = np.random.default_rng(0)

    def records():
        for index in range(24):
            pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
            pixels[..., 2 - index % 3] += 150
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "PNG")
            fields = {"label": CLASSES[index % 3], "size": "small"}
            yield Record(data=data.getvalue(), length=1, name=f"{index}.png", fields=fields)

    write_store(folder, "images", "images", records())
    return str(folder)


def source(store: str, **changes: object) -> CaptionedImages:
    whole = CaptionedImages(images=Images(store=store, size=16, augmentation=None))
    return whole.evolve(**changes)


def clip(store: str, **changes: object) -> Experiment:
    blocks = Transformer(width=16, depth=1, heads=2, dropout=0.0, attention_dropout=0.0)
    backbone = Projected(backbone=blocks, projector=MLP(layers=1, out=8, norm="none"))
    pairs = source(store)
    whole = Experiment(
        name="clip",
        source=pairs,
        encoder=(Patches(width=16, patch=8), TokenEmbeddings(width=16, max_tokens=76, dropout=0.0)),
        backbone=(backbone, backbone),
        targets=StudentProjections(gradient="flow"),
        objective=InfoNCE(temperature=0.07, learn_temperature=True),
        training=Training(
            steps=60,
            batch=BatchSize.samples(12),
            optimizer=AdamW(learning_rate=3e-3),
            precision="float32",
            num_workers=0,
        ),
        evaluations={"zero_shot": ZeroShot(test=pairs)},
    )
    return whole.evolve(**changes)


def written(tokens: torch.Tensor) -> str:
    assert (int(tokens[0]), int(tokens[-1])) == (0, 2)
    return bytes((tokens[1:-1] - 4).tolist()).decode()


def test_a_view_is_an_image_and_a_view_its_caption_in_bytes(store):
    samples = source(store, captions=("a photo of a {label}", "a {size} {label} é")).open()
    assert [signal.kind for signal in samples.source.signals()] == ["image", "tokens"]
    texts = {written(samples.views(4, length=None, generator=generator(0, seed))[1]) for seed in range(20)}
    assert texts == {"a photo of a green", "a small green é"}
    image = samples.views(4, length=None, generator=generator(0))[0]
    torch.testing.assert_close(image, samples.content(4))
    assert samples.labels is not None
    assert samples.classes == CLASSES


def test_long_captions_are_cut(store):
    tokens = source(store, max_tokens=8).tokens("a photo of a cat")
    assert written(tokens) == "a phot"


def test_what_cannot_be_read_is_named(store):
    samples = source(store, captions=("a {colour}",)).open()
    with pytest.raises(DataError, match="needs the field 'colour'"):
        samples.views(0, length=None, generator=generator(0))
    several = source(store, **{"images.augmentation": MultiViewAugmentation.simsiam()}).open()
    with pytest.raises(SpecError, match="the augmentation makes 2 of the image"):
        several.views(0, length=None, generator=generator(0))
    with pytest.raises(SpecError, match=r"images\.views is 2"):
        source(store, **{"images.views": 2})


def test_another_caption_is_other_data(store):
    one, other = (source(store, captions=(caption,)).open().fingerprint for caption in ("a {label}", "the {label}"))
    assert one != other


def test_each_view_has_its_own_network_and_the_gradient_reaches_both(store):
    whole = clip(store)
    learner = build_learner(whole)
    batch = Steps(whole, BatchPlan(whole.source.open().lengths, whole.training.batch, 0))[0].parts[0]
    loss, _ = learner(batch, learner.objective.num_targets(batch))
    loss.backward()
    for view in range(2):
        reached = {
            name for name, parameter in learner.network.of(view).named_parameters() if parameter.grad is not None
        }
        assert any(name.startswith("encoder.") for name in reached)
        assert any("projector" in name for name in reached)


def test_projections_of_different_widths_are_refused(store):
    whole = clip(store, **{"backbone.1.projector.out": 6})
    with pytest.raises(SpecError, match="their widths are 8, 6"):
        build_learner(whole)


def test_a_teacher_of_one_network_is_refused(store):
    teacher = EMATeacher(share="nothing")
    with pytest.raises(SpecError, match="have a signal each, which TeacherProjections does not support"):
        build_learner(clip(store, targets=TeacherProjections(teacher=teacher)))


def test_zero_shot_accuracy_is_that_of_the_nearest_caption(store):
    whole = clip(store)
    learner = build_learner(whole).eval()
    report = ZeroShot(test=source(store)).evaluate(state_of(whole, learner))
    pairs = source(store).open()

    def directions(view, contents):
        network = learner.network.of(view)
        found = []
        for content in contents:  # one by one, without padding
            collated = collate([content], whole.encoder[view])
            found.append(network.contextualize(network.encoder.embed(collated), None).pooled[0])
        return torch.nn.functional.normalize(torch.stack(found), dim=1)

    with torch.no_grad():
        classes = directions(1, [pairs.source.tokens(f"a photo of a {name}") for name in CLASSES])
        images = directions(0, [pairs.content(index) for index in range(24)])
    by_class = [CLASSES.index(pairs.classes[label]) for label in pairs.labels]
    right = (images @ classes.T).argmax(1) == torch.tensor(by_class)
    assert report.metrics["accuracy"] == pytest.approx(100 * float(right.float().mean()))
    assert "accuracy_random" not in report.metrics, "the control is evaluated at the end"


def state_of(experiment: Experiment, learner) -> RunState:
    initial = functools.partial(build_network, experiment)
    return RunState(experiment, learner, initial, torch.device("cpu"), torch.float32, step=0, finished=False)


def test_colours_are_learned_from_their_names(store, tmp_path):
    result = run.start(clip(store), tmp_path / "r", device="cpu")
    metrics = result.reports["zero_shot"].metrics
    assert metrics["accuracy"] > 90 > metrics["accuracy_random"]


def test_a_test_set_that_does_not_fit_is_refused_before_the_run(store):
    other = ZeroShot(test=source(store, **{"images.size": 8}))
    with pytest.raises(SpecError, match="the signals of the test images and captions differ"):
        other.prepare(clip(store))
    with pytest.raises(SpecError, match="a caption needs the field 'size'"):
        ZeroShot(test=source(store, captions=("a {size} {label}",))).prepare(clip(store))
