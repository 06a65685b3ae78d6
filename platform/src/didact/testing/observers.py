"""What every observer promises."""

from __future__ import annotations

from didact.contracts import Observer
from didact.plugins import lifecycle_manager


def check_observer(observer: Observer) -> None:
    """Builds an observer and registers it as a run would; no hook is called.

    Raises:
        AssertionError: the contract is broken; says how.
    """
    watching = observer.build()
    manager = lifecycle_manager()
    manager.register(watching)
    manager.check_pending()  # raises for a hook that no definition fits
    hooks = manager.get_hookcallers(watching)
    assert hooks, "an observer listens to something: methods with @hookimpl"
