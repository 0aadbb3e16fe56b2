"""The ComfyUI page in a headless Chromium, used as a person uses it: drop a file, open a template, press Run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Response, Route, sync_playwright

from browser.chromium import find_chromium
from host.server import PACK_NAME

READY = "window.app?.extensionManager && window.LiteGraph && 'KSampler' in LiteGraph.registered_node_types"
EVENTS = ("execution_start", "executed", "execution_success", "execution_error", "execution_interrupted")
LISTEN = """events => {
    window.__events = [];
    if (window.__listening) return;
    window.__listening = true;
    for (const kind of events)
        app.api.addEventListener(kind, event => window.__events.push({kind, detail: event.detail}));
}"""
NODES = """() => app.graph.nodes.map(node => ({
    id: String(node.id), type: node.type, title: node.title, has_errors: node.has_errors === true,
    known: node.type in LiteGraph.registered_node_types || node.isSubgraphNode?.() === true,
    pictures: (node.imgs ?? []).map(image => [image.naturalWidth, image.naturalHeight]),
}))"""
GRAPH_BOX = """() => {
    const canvas = app.canvas.canvas.getBoundingClientRect(), {scale, offset} = app.canvas.ds;
    const boxes = [...app.graph.groups.map(group => [...group.pos, ...group.size]),
        ...app.graph.nodes.map(node => [node.pos[0], node.pos[1] - 30, node.size[0], node.size[1] + 30])];
    const edge = (pick, of) => Math.max(...boxes.map(box => pick * of(box))) * pick;
    return [edge(-1, b => b[0]), edge(-1, b => b[1]), edge(1, b => b[0] + b[2]), edge(1, b => b[1] + b[3])]
        .map((value, i) => (value + offset[i % 2]) * scale + (i % 2 ? canvas.top : canvas.left));
}"""
URLS = """() => [...new Set(JSON.stringify(app.rootGraph.serialize()).match(/https?:[^"\\\\]+/g))]"""
WATCH_LOADING = """() => {
    window.__loaded = false;
    if (window.__watched) return;
    window.__watched = true;
    const load = app.loadGraphData;
    app.loadGraphData = async function (...given) {
        const answer = await load.apply(this, given);
        window.__loaded = true;
        return answer;
    };
}"""
LOADED = "name => window.__loaded && app.extensionManager.workflow.activeWorkflow?.filename.startsWith(name)"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


class RunFailed(Exception):
    """A graph that was started from the page did not end in success."""


ANY_TEMPLATE = re.compile("^template-workflow-")


@dataclass
class ComfyPage:
    """One open page of a ComfyUI server, and everything that went wrong in it since :meth:`forget`."""

    page: Page
    url: str
    console_errors: list[str] = field(default_factory=list)
    failed_requests: list[str] = field(default_factory=list)
    outside_requests: list[str] = field(default_factory=list)
    urls_of_default_graph: list[str] = field(default_factory=list)

    def open(self) -> None:
        """Load the page and wait until it can be used; what it complains about while loading is the host's affair.

        So is what comes later of the host's own first graph, which looks for its models on the internet.
        """
        self.page.goto(self.url)
        self.page.wait_for_function(f"!!({READY})", timeout=120_000)
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_timeout(1000)
        self.page.evaluate(LISTEN, EVENTS)
        self.urls_of_default_graph = list(self.page.evaluate(URLS))
        self.forget()

    def forget(self) -> None:
        """Start the lists of complaints anew."""
        for complaints in (self.console_errors, self.failed_requests, self.outside_requests):
            complaints.clear()

    def complaints(self) -> list[str]:
        """All that a page without a fault has none of."""
        found = [*self.console_errors, *self.failed_requests, *self.outside_requests]
        return [said for said in found if not any(url in said for url in self.urls_of_default_graph)]

    def drop(self, path: Path) -> None:
        """Drag a file from the desktop onto the canvas and wait until its graph is open."""
        session = self.page.context.new_cdp_session(self.page)
        self.page.evaluate(WATCH_LOADING)
        data = {"items": [], "files": [str(path.resolve())], "dragOperationsMask": 1}
        for step in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": step, "x": 800, "y": 600, "data": data})
        session.detach()
        self._wait_for_workflow(path.stem)

    def open_template(self, name: str) -> None:
        """Choose a workflow of this pack in the template browser and wait until its graph is open."""
        self.page.get_by_role("button", name="Templates").first.click()
        self.page.get_by_role("button", name=re.compile(PACK_NAME, re.IGNORECASE)).first.click()
        self.page.evaluate(WATCH_LOADING)
        self._scroll_to_template(name).click()
        self._wait_for_workflow(name)

    def _scroll_to_template(self, name: str) -> Locator:
        """The card of a workflow; the browser draws the further ones when its list is scrolled."""
        wanted, cards = (self.page.get_by_test_id(which) for which in (f"template-workflow-{name}", ANY_TEMPLATE))
        cards.first.wait_for()
        for _ in range(20):
            if wanted.count():
                break
            cards.last.scroll_into_view_if_needed()
            self.page.wait_for_timeout(200)
        return wanted

    def nodes(self) -> list[dict[str, Any]]:
        """The open graph's nodes: id, type, title, has_errors, known, pictures (sizes of the images they show)."""
        return list(self.page.evaluate(NODES))

    def api_graph(self) -> dict[str, Any]:
        """The open graph in the form that is posted to the server."""
        return dict(self.page.evaluate("async () => (await app.graphToPrompt()).output"))

    def run(self, timeout: float = 300) -> list[dict[str, Any]]:
        """Press Run, wait for the end and return the events.

        Raises:
            RunFailed: the graph was refused or ended in an error.
        """
        self.page.evaluate(LISTEN, EVENTS)
        with self.page.expect_response(_is_posted_graph, timeout=60_000) as posted:
            self.page.get_by_test_id("queue-button").click()
        answer = posted.value.json()
        if not posted.value.ok or answer.get("node_errors"):
            raise RunFailed(f"refused: {answer}")
        ended = "window.__events.some(e => !['execution_start', 'executed'].includes(e.kind))"
        self.page.wait_for_function(ended, timeout=timeout * 1000)
        events = list(self.page.evaluate("window.__events"))
        if events[-1]["kind"] != "execution_success":
            raise RunFailed(events[-1]["detail"].get("exception_message") or events[-1]["kind"])
        self.page.wait_for_timeout(500)
        return events

    def wait_for_pictures(self, node_id: str) -> None:
        """Wait until a node shows at least one picture."""
        loaded = "id => app.graph.getNodeById(id)?.imgs?.every(image => image.naturalWidth > 0)"
        self.page.wait_for_function(f"id => !!(({loaded})(id))", arg=int(node_id), timeout=20_000)

    def screenshot(self, path: Path) -> Path:
        """Fit the graph to the window and save what is seen, texts included however small they get."""
        self.fit_view()
        self.page.screenshot(path=path)
        return path

    def fit_view(self) -> None:
        """Show the whole graph, texts included however small they get."""
        self.page.evaluate("app.extensionManager.setting.set('LiteGraph.Canvas.MinFontSizeForLOD', 0)")
        self.page.evaluate("app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.page.wait_for_timeout(1000)

    def picture_of_graph(self) -> bytes:
        """A PNG of the whole graph and nothing else of the page."""
        self.page.keyboard.press("Escape")  # a dialog over models that are missing
        self.page.evaluate("app.graph.nodes.forEach(node => { node.has_errors = false; })")
        self.fit_view()
        left, top, right, bottom = self.page.evaluate(GRAPH_BOX)
        clip: Any = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        return self.page.screenshot(clip=clip)

    def _wait_for_workflow(self, name: str) -> None:
        """A graph that is open already gets a number behind its name."""
        self.page.wait_for_function(LOADED, arg=name, timeout=60_000)
        self.page.wait_for_timeout(500)

    def _listen(self) -> None:
        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.console_errors.append(f"{message.text} ({message.location.get('url', '')})")

        def on_response(response: Response) -> None:
            if response.status >= 400:
                self.failed_requests.append(f"{response.status} {response.request.method} {response.url}")

        def keep_inside(route: Route) -> None:
            if route.request.url.startswith((self.url, "data:", "blob:")):
                route.continue_()
            else:
                self.outside_requests.append(route.request.url)
                route.abort()

        self.page.on("console", on_console)
        self.page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        self.page.on("response", on_response)
        self.page.route("**/*", keep_inside)


def _is_posted_graph(response: Response) -> bool:
    return response.request.method == "POST" and response.url.endswith("/prompt")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


def new_page(browser: Browser, url: str, locale: str = "en-US") -> ComfyPage:
    """An open, ready page of the server at ``url``, in a new profile of its own; ``page.context.close()`` ends it."""
    context = browser.new_context(viewport={"width": 1920, "height": 1080}, locale=locale)
    comfy_page = ComfyPage(context.new_page(), url)
    comfy_page._listen()
    comfy_page.open()
    return comfy_page
