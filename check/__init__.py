"""What a workflow will sample, computed from its file alone, and where that contradicts the models that it loads."""

from .report import Change, Finding, Report, SamplerReport
from .workflow import check_graph, check_workflow

__all__ = ["Change", "Finding", "Report", "SamplerReport", "check_graph", "check_workflow"]
