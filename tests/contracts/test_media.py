"""`Medium`."""

import pytest

from didact.plugins import registry
from didact.testing import check_medium

BAD = {
    "images": {"noise.png": b"\x89PNG\r\n\x1a\n" + b"noise" * 20, "empty.jpg": b""},
    "audio": {"noise.wav": b"RIFF\x00\x00", "empty.flac": b""},
    "text": {"latin.txt": "Grüße".encode("latin-1"), "zeros.txt": b"\xff\xfe\x00"},
}


@pytest.mark.parametrize("kind", sorted(registry().of_kind("didact_media")))
def test_every_medium_keeps_the_contract(kind, stores):
    from didact.store import Store

    store = Store.open(str(stores / kind))
    good = {store.get(index).name: store.get(index).data for index in range(3)}
    check_medium(registry().of_kind("didact_media")[kind](), good, BAD[kind])


def test_no_two_media_claim_one_suffix():
    claimed: dict[str, str] = {}
    for kind, medium in registry().of_kind("didact_media").items():
        for suffix in medium.suffixes:
            assert claimed.setdefault(suffix, kind) == kind, f"{suffix} is claimed by {claimed[suffix]} and {kind}"
