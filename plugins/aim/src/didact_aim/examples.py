"""A small tracker, for the contract's rules; it writes where it stands."""

from didact.testing import Example
from didact_aim.observer import Aim

EXAMPLES = {"aim": [Example(spec=Aim())]}
