"""`Objective`."""

from didact.testing import TinyEncoder, TinyMasker, check_objective, tiny_network

TEACHER = {"spec": "distill/ema", "shares": "nothing"}
TARGETS = {
    "distill/latent-regression": {"spec": "distill/top-k", "k": 2},
    "views/cosine-prediction": {"spec": "views/teacher-summaries", "teacher": TEACHER},
    "views/prototype-cross-entropy": {"spec": "views/prototype-targets", "teacher": TEACHER},
    "views/vicreg": {"spec": "views/student-summaries", "gradient": "flow"},
}


def test_every_objective_keeps_the_contract(objective, make, comparing):
    targets = make(TARGETS[objective.name])
    if objective.name.startswith("views/"):
        check_objective(objective.spec, targets, comparing, views=3)
        return
    drops = type(getattr(objective.spec, "head", None)).__name__ == "ConvDecoder"
    network = tiny_network(TinyEncoder(class_token=True))
    check_objective(objective.spec, targets, network, TinyMasker(masks=2, corruption="drop" if drops else "hide"))
