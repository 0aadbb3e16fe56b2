// The open graph: what is posted of it, its nodes by the ids that a check gives, and values put into their widgets.
import { app } from "../../../scripts/app.js";
import { nextFrames } from "../common/dom.js";

const SQUASHED = 120; // ms after which the page no longer adds changes to the step before

const wait = (ms) => new Promise((done) => setTimeout(done, ms));

const root = () => app.rootGraph ?? app.graph;

export const serializeGraph = () => JSON.parse(JSON.stringify(root().serialize()));

// Waits until nodes that are drawn as elements have found their sizes, at most a second and a half.
export async function graphSettled() {
    await nextFrames(4);
    let before = "";
    for (let i = 0, same = 0; i < 15 && same < 3 && window.LiteGraph?.vueNodesMode; i++) {
        const now = JSON.stringify(serializeGraph());
        same = now === before ? same + 1 : 0;
        before = now;
        await wait(100);
    }
}

// Which workflow is open; undefined on pages that have only one.
export const openWorkflow = () => app.extensionManager?.workflow?.activeWorkflow?.path;

const changeTracker = () => app.extensionManager?.workflow?.activeWorkflow?.changeTracker;

const nodeOf = (graph, id) => graph?.getNodeById?.(id) ?? graph?.getNodeById?.(Number(id)) ?? null;

// The nodes on the way to one: "12:5" is node 5 in the subgraph of node 12.
export function findNodes(id) {
    const found = [];
    let graph = root();
    for (const part of String(id).split(":")) {
        const node = nodeOf(graph, part);
        if (!node) return [];
        found.push(node);
        graph = node.subgraph;
    }
    return found;
}

// The title that a node has in the page.
export const titleOf = (id) => findNodes(id).at(-1)?.title;

// The value that a path of a posted graph leads to.
export const valueAt = (posted, path) => path.reduce((inner, part) => inner?.[part], posted);

// Opens the graph that a node is in, selects the node and moves it to the middle.
export async function showNode(id) {
    const node = findNodes(id).at(-1);
    const canvas = app.canvas;
    if (!node) return false;
    if (node.graph && node.graph !== canvas.graph) {
        canvas.subgraph = node.graph === root() ? undefined : node.graph;
        canvas.setGraph(node.graph);
        await nextFrames();
    }
    (canvas.selectItems ?? canvas.selectNodes).call(canvas, [node]);
    canvas.centerOnNode(node);
    canvas.setDirty(true, true);
    return true;
}

// The node and the widget whose value a path of the posted graph leads to; null where the page has another value there.
function findWidget(posted, path) {
    const key = path.at(-1);
    const at = path.indexOf("nodes");
    const stored = valueAt(posted, path.slice(0, at + 2));
    const id = at > 0 ? posted.definitions.subgraphs[path[at - 1]].id : null;
    const graph = id === null ? root() : root().subgraphs?.get(id);
    const node = nodeOf(graph, stored?.id);
    const widgets = node?.widgets ?? [];
    const widget = typeof key === "number" ? widgets[key] : widgets.find((one) => one.name === key);
    const isSame = widget && JSON.stringify(widget.value) === JSON.stringify(stored.widgets_values[key]);
    return isSame ? { graph, node, widget } : null;
}

function setWidget({ node, widget }, value) {
    const before = widget.value;
    widget.value = value;
    widget.callback?.(widget.value, app.canvas, node);
    node.onWidgetChanged?.(widget.name, widget.value, before, widget);
    node.setDirtyCanvas?.(true, true);
}

const hasStill = ({ graph, node, widget }, value) => nodeOf(graph, node.id) === node && widget.value === value;

// Puts values into widgets as one step to undo, which ends when settle() has: what the page changes besides, as the size of
// a node, belongs to it. Returns the step: run() takes it back while isOpen(); null where the graph has changed since it
// was posted.
export async function applyChanges(posted, changes, settle) {
    const tracker = changeTracker();
    (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
    await wait(SQUASHED);
    const places = changes.map((change) => findWidget(posted, change.path));
    if (places.includes(null)) return null;
    const before = places.map(({ widget }) => widget.value);
    tracker?.beforeChange?.();
    try {
        places.forEach((place, index) => setWidget(place, changes[index].value));
        await settle();
    } finally {
        tracker?.afterChange?.();
    }
    const step = tracker?.undoQueue?.at(-1);
    const isLast = () => Boolean(step) && tracker === changeTracker() && tracker.undoQueue.at(-1) === step;
    const isStill = () => places.every((place, index) => hasStill(place, changes[index].value));
    const putBack = () => places.forEach((place, index) => setWidget(place, before[index]));
    return { isOpen: () => isLast() || isStill(), run: () => (isLast() ? tracker.undo() : isStill() && putBack()) };
}
