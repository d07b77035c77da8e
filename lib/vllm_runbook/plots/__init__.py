"""Figures of the runbook: live where someone watches, one plain figure where nobody does."""

from .burn import burn_figure
from .canary import canary_figure
from .decision import decision_figure
from .live import View, headless, live, mimebundle, show
from .memory import memory_figure
from .nodes import NodeGpus, gpu_usage, nodes_figure, waiting_gpus
from .plane import plane_figure
from .prefetch import PrefetchProgress
from .recorder import Recorder
from .story import Story, story_figure
from .sync import sync_figure
from .theme import alt_text, description, figure
from .timed import Timed, timed_figure
from .timeline import NodeTimeline, PodTimeline, Span, phase_of
from .workloads import workloads_figure

__all__ = [
    "NodeGpus",
    "NodeTimeline",
    "PodTimeline",
    "PrefetchProgress",
    "Recorder",
    "Span",
    "Story",
    "Timed",
    "View",
    "alt_text",
    "burn_figure",
    "canary_figure",
    "decision_figure",
    "description",
    "figure",
    "gpu_usage",
    "headless",
    "live",
    "memory_figure",
    "mimebundle",
    "nodes_figure",
    "phase_of",
    "plane_figure",
    "show",
    "story_figure",
    "sync_figure",
    "timed_figure",
    "waiting_gpus",
    "workloads_figure",
]
