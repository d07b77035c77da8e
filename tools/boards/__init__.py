"""The dashboards, as data."""

from .autoscaling import AUTOSCALING
from .gpus import GPUS
from .panel import SPACES, Board, Panel
from .service import SERVICE
from .spot import SPOT

__all__ = ["BOARDS", "SPACES", "Board", "Panel"]

BOARDS = (SERVICE, AUTOSCALING, GPUS, SPOT)
