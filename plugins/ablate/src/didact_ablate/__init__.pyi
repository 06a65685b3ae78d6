from .ablation import Ablation as Ablation
from .ablation import experiment_in as experiment_in
from .closing import close as close
from .design import Study as Study
from .finding import RunFinder as RunFinder
from .finding import find_runs as find_runs
