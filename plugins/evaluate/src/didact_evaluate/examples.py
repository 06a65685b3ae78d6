"""Small instances of what didact-evaluate registers, for the contract's rules."""

from didact.testing import Example, TinySource
from didact_evaluate.health import Health
from didact_evaluate.pictures import Pictures
from didact_evaluate.probe import Probe

walks = TinySource(count=12, uneven=True)

EXAMPLES = {
    "health": [Example(spec=Health(samples=8), source=walks)],
    "pictures": [
        Example(spec=Pictures(source=source, samples=2, pool=6, masks=2), source=source)
        for source in (TinySource(count=12, height=4, length=5), walks)
    ],
    "probe": [
        Example(spec=Probe(train=walks, test=TinySource(count=12, uneven=True, seed=1), neighbours=2), source=walks)
    ],
}
