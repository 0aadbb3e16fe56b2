"""Print, as JSON, the levels that the host computes for every case of ``level_cases``.

    python record_levels.py PATH_OF_COMFYUI

Run in ComfyUI's own interpreter by ``scripts/record_levels.py``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    sys.argv[1:] = ["--cpu", "--base-directory", tempfile.mkdtemp()]
    import comfy.options

    comfy.options.enable_args_parsing()
    import nodes

    for name in ("custom_sampler", "align_your_steps", "optimalsteps", "flux", "lt", "ideogram4"):
        asyncio.run(nodes.load_custom_node(f"{nodes.__file__.removesuffix('nodes.py')}comfy_extras/nodes_{name}.py"))
    import level_cases

    schedulers = [
        [*case, [round(x, 9) for x in level_cases.host_schedule(*case).tolist()]] for case in level_cases.schedulers()
    ]
    made = [[*case, [x.tolist() for x in level_cases.run_host_node(*case)]] for case in level_cases.nodes()]
    sys.stdout.write(json.dumps({"schedulers": schedulers, "sigmas": level_cases.SIGMAS, "nodes": made}) + "\n")


if __name__ == "__main__":
    main()
