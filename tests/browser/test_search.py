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
        ("qwen", "WanLiteVAELoader"),
        ("qwen vae", "WanLiteVAELoader"),
        ("wan vae", "WanLiteVAELoader"),
        ("play", "WanLiteWorldPlay"),
        ("prompt", "WanLiteTextEmbedsLoad"),
        ("vae tiled", "WanLiteVAEDecode"),
        ("lightx2v", "WanLiteContractSampling"),
        ("few step", "WanLiteContractSampling"),
        ("contact sheet", "WanLiteGrid"),
        ("distilled", "WanLiteStudentLoader"),
        ("flow scheduler", "WanLiteFlowSchedule"),
        ("wan scheduler", "WanLiteFlowSchedule"),
    ],
)
def test_a_word_finds_the_node_among_the_first(page: ComfyPage, words: str, node: str) -> None:
    found = page.page.evaluate(SEARCH, [words, FIRST])
    assert node in found, found


NAMED = """word => Object.values(document.querySelector('#vue-app').__vue_app__.config.globalProperties.$pinia
    ._s.get('nodeDef').nodeDefsByName).filter(node => !node.name.startsWith('WanLite')
        && `${node.name} ${node.display_name}`.toLowerCase().includes(word)).map(node => node.name)"""


def test_one_word_finds_first_what_is_named_after_it(page: ComfyPage) -> None:
    """The page puts names before aliases, and shorter names first: nobody can alias a node past these."""
    named = page.page.evaluate(NAMED, "scheduler")
    assert len(named) >= FIRST
    assert set(page.page.evaluate(SEARCH, ["scheduler", FIRST])) <= set(named)
