// A text that one of this pack's nodes shows under itself has room for all its lines, not for the page's two.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NAME = "$$node-text-preview";
const LINE = 17;
const MARGIN = 24;
const MOST = 12;
const LETTER = 6.5;

const findNode = (id) => app.graph?.getNodeById?.(id) ?? app.graph?.getNodeById?.(Number(id));

function countLines(text, width) {
    const letters = Math.max(8, Math.floor((width - 40) / LETTER));
    const lines = text.split("\n").map((line) => Math.max(1, Math.ceil(line.length / letters)));
    return Math.min(MOST, lines.reduce((sum, count) => sum + count, 0));
}

function makeRoom(node) {
    const widget = node.widgets?.find(({ name }) => name === NAME);
    if (!widget?.options) return;
    const height = MARGIN + LINE * countLines(String(widget.value ?? ""), node.size[0]);
    if (height <= (widget.options.getMinHeight?.() ?? 0)) return;
    widget.options.getMinHeight = () => height;
    node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
    app.graph.setDirtyCanvas(true, true);
}

app.registerExtension({
    name: "wanLite.shownTexts",
    setup() {
        // After the page's own listener, which adds the text.
        api.addEventListener("progress_text", ({ detail }) =>
            requestAnimationFrame(() => {
                const node = findNode(detail.nodeId);
                if (node?.comfyClass?.startsWith("WanLite")) makeRoom(node);
            }),
        );
    },
});
