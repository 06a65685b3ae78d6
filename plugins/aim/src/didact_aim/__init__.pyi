from .observer import Aim as Aim
