"""Checking the graph that is open in the page: what it will sample, beside what its models were trained for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import folder_paths
from aiohttp import web

from ...check import Finding, Report, check_graph
from ...check.explanations import EXPLANATIONS
from ...check.knowledge import ENDINGS, Knowledge
from ...models.contract_files import list_contract_files
from ..host.contracts import load_students
from .requests import read_json, refuse

__all__ = ["answer_check", "check_open_graph", "find_local"]

FOLDERS = ("diffusion_models", "checkpoints", "loras", "wan_students")
"""The host's model folders whose files may carry a contract."""


async def answer_check(request: web.Request) -> web.Response:
    """Answer with what is found in the posted ``workflow``, in the page's own format or in that of the API.

    The check runs beside the server's loop, which keeps answering.
    """
    workflow = (await read_json(request)).get("workflow")
    if not isinstance(workflow, dict):
        raise refuse(web.HTTPBadRequest, f"workflow is {type(workflow).__name__}; send the graph as an object.")
    try:
        return web.json_response(await asyncio.to_thread(check_open_graph, workflow))
    except ValueError as error:  # of the graph, or of the user's own file of known students
        raise refuse(web.HTTPBadRequest, f"The graph cannot be checked: {error}") from None
    except RecursionError:
        raise refuse(web.HTTPBadRequest, "The graph cannot be checked: its nodes follow each other too far.") from None


def check_open_graph(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report on a graph as plain data, with explanations, and with the place of each change in the graph.

    Raises:
        WorkflowError: It is not a workflow.
    """
    return _describe(check_graph(workflow, Knowledge(load_students(), find=find_local)))


def find_local(name: str) -> Path | None:
    """Return the path of a model file, or of a folder that is one, by its name in the host's model folders.

    Nothing outside of these is looked at: not through ``..``, not by an absolute path, not through a link.
    """
    parts = name.replace("\\", "/").split("/")
    if not all(parts) or {".", ".."} & set(parts) or any(sign in name for sign in ":\0"):
        return None
    bases = (Path(base) for kind in FOLDERS if kind in folder_paths.folder_names_and_paths for base in _bases(kind))
    return next((path for base in bases if _may_be_read(path := base.joinpath(*parts), base)), None)


def _bases(kind: str) -> list[str]:
    return list(folder_paths.get_folder_paths(kind))


def _may_be_read(path: Path, base: Path) -> bool:
    try:
        is_model = (path.suffix in ENDINGS and path.is_file()) or (path / "config.json").is_file()
        root = base.resolve()
        return is_model and all(file.resolve().is_relative_to(root) for file in list_contract_files(path))
    except OSError:  # no disk has a name like this
        return False


def _describe(report: Report) -> dict[str, Any]:
    described = report.to_dict()
    described["findings"] = [_describe_finding(finding) for finding in report.findings]
    return described


def _describe_finding(finding: Finding) -> dict[str, Any]:
    changes = [{"node": c.node, "input": c.input, "value": c.value, "path": c.path} for c in finding.changes]
    return {
        **finding.to_dict(),
        "explanation": EXPLANATIONS.get(finding.id, ""),
        "changes": changes if finding.is_mendable else [],
    }
