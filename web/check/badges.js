// Badges on the nodes that something was found at, on the canvas and on nodes that are drawn as elements of the page.
import { app } from "../../../scripts/app.js";
import { findNodes } from "./graph.js";

const OURS = Symbol("wanLite.check");
const COLORS = { wrong: ["#ffffff", "#b3312b"], doubtful: ["#241a00", "#e0a526"] };
const WEIGHT = { doubtful: 1, wrong: 2 };

let badged = [];

function makeBadge({ severity, count }, text, onClick) {
    const Badge = window.LGraphBadge;
    if (!Badge) return null;
    const word = text(`severities.${severity}`);
    const [fgColor, bgColor] = COLORS[severity];
    const made = new Badge({ text: count > 1 ? `${word} · ${count}` : word, fgColor, bgColor, onClick });
    return Object.assign(() => made, { [OURS]: true });
}

function setBadge(node, badge) {
    const kept = (node.badges ?? []).filter((one) => !one[OURS]);
    node.badges = badge ? [...kept, badge] : kept;
    const changed = { nodeId: node.id, property: "badges", oldValue: undefined, newValue: node.badges };
    node.graph?.trigger?.("node:property:changed", changed); // for nodes that are elements of the page
}

// Severity and number of the findings at each node; a subgraph's node has those of the nodes inside of it too.
function countFindings(findings) {
    const counts = new Map();
    for (const { node: id, severity } of findings) {
        if (!WEIGHT[severity]) continue;
        for (const node of findNodes(id)) {
            const before = counts.get(node) ?? { severity, count: 0 };
            const worse = WEIGHT[severity] > WEIGHT[before.severity] ? severity : before.severity;
            counts.set(node, { severity: worse, count: before.count + 1 });
        }
    }
    return counts;
}

export function showBadges(findings, text, onClick) {
    badged.forEach((node) => setBadge(node, null));
    const counts = countFindings(findings);
    badged = [...counts.keys()];
    for (const [node, found] of counts) setBadge(node, makeBadge(found, text, onClick));
    app.canvas?.setDirty(true, true);
}
