"""`Evaluation`."""

from didact import Experiment, Training, samples
from didact.testing import check_evaluation


def test_every_evaluation_keeps_the_contract(evaluation, make):
    experiment = Experiment(
        name="tiny",
        source=make({"spec": "vision/images", "store": "STORE:images", "size": 16}),
        encoder=make({"spec": "vision/patches", "width": 16, "patch": 4}),
        masker=make({"spec": "vision/random", "masks": 2, "ratio": 0.5, "corruption": "drop"}),
        backbone=make({"spec": "transformer/transformer", "width": 16, "depth": 2, "heads": 2}),
        targets=make({"spec": "distill/top-k", "k": 1, "teacher": {"spec": "distill/ema", "shares": "nothing"}}),
        objective=make(
            {
                "spec": "distill/latent-regression",
                "head": {"spec": "distill/conv-decoder", "width": 16, "layers": 1, "groups": 2, "kernel": 3},
            }
        ),
        training=Training(steps=1, batch=samples(4), learning_rate=1e-3),
    )
    check_evaluation(evaluation.spec, experiment)
