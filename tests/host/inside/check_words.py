"""What a beginner reads when a sampler and a contract do not agree."""

from dataclasses import replace

from harness import submodule


def check_a_mismatch_says_whose_contract_it_is_and_the_way_out() -> None:
    contract, checks = submodule("samplers.contract"), submodule("nodes.host.checks")
    ddim, flow = (contract.PRESETS[name] for name in ("ddim-20 run_inference", "flow_unipc-20 shift 5"))
    declared = checks.check_contract(replace(ddim, source="declared"), flow)
    assert any("contract says ddim, but flow_unipc was asked for" in line for line in declared)
    assert "Wan Lite Contract Sampling" in declared[-1] and "on_mismatch" in declared[-1]
    assert checks.check_contract(replace(ddim, source="assumed"), flow) == [], "what was assumed may be changed"
    assert checks.check_contract(ddim, ddim) == [] and checks.check_contract(None, flow) == []
