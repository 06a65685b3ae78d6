"""`Teacher`."""

from didact.testing import check_teacher


def test_every_teacher_keeps_the_contract(teacher):
    check_teacher(teacher.spec)
