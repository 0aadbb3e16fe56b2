"""What a person types into the page's search finds this pack's nodes, by the page's own algorithm."""

from __future__ import annotations

import pytest

from browser.page import ComfyPage

FIRST = 9
SEARCH = """([words, most]) => {
    const pinia = document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia;
    return pinia._s.get('nodeDef').nodeSearchService.searchNode(words, [], {limit: 64})
        .slice(0, most).map(node => node.name);
}"""


@pytest.mark.parametrize(
    ("words", "node"),
    [
        ("qwen vae", "WanLiteVAELoader"),
        ("prompt", "WanLiteTextEmbedsLoad"),
        ("vae tiled", "WanLiteVAEDecode"),
        ("lightx2v", "WanLiteContractSampling"),
        ("few step", "WanLiteContractSampling"),
        ("contact sheet", "WanLiteGrid"),
        ("distilled", "WanLiteStudentLoader"),
        ("flow scheduler", "WanLiteFlowSchedule"),
    ],
)
def test_a_word_finds_the_node_among_the_first(page: ComfyPage, words: str, node: str) -> None:
    found = page.page.evaluate(SEARCH, [words, FIRST])
    assert node in found, found
