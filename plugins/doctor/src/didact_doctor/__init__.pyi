from .examination import diagnose as diagnose
from .observer import Doctor as Doctor
