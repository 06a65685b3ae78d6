from .ablation import Ablation as Ablation
from .ablation import experiment_in as experiment_in
from .closing import close as close
from .finding import RunFinder as RunFinder
