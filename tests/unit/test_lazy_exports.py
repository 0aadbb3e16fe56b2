"""Names that a package takes from its modules when they are first used."""

from __future__ import annotations

import pytest

from wan_lite import lazy_exports


def test_a_name_is_looked_up_in_its_module_once(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[tuple[str, str]] = []
    real = lazy_exports.import_module

    def watch(name: str, package: str) -> object:
        imported.append((name, package))
        return real(name, package)

    monkeypatch.setattr(lazy_exports, "import_module", watch)
    load, names, public = lazy_exports.attach("json", {"decoder": ("JSONDecoder",), "encoder": ("JSONEncoder",)})
    assert names() == public == ["JSONDecoder", "JSONEncoder"]
    assert imported == []
    assert load("JSONEncoder") is load("JSONEncoder")
    assert imported == [(".encoder", "json")]


def test_another_name_is_an_attribute_error() -> None:
    load, _, _ = lazy_exports.attach("json", {"decoder": ("JSONDecoder",)})
    with pytest.raises(AttributeError, match="'json' has no attribute 'nothing'"):
        load("nothing")
