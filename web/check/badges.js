// Badges on the nodes that something was found at, on the canvas and on nodes that are drawn as elements of the page.
import { app } from "../../../scripts/app.js";
import { findNodes } from "./graph.js";

const COLORS = { wrong: ["#ffffff", "#b3312b"], doubtful: ["#241a00", "#e0a526"] };
const WEIGHT = { doubtful: 1, wrong: 2 };

let badges = new Map();
let badgesOfIds = new Map();
let blank;

// What tells nodes drawn as elements that badges have changed: the page watches who reads it.
export const watched = { source: { revision: 0 } };

// After undoing, an element of the page shows a new node of the same id and still asks the old one's badges.
const isReplaced = (node) => node.graph?.getNodeById?.(node.id) !== node;

// Gives a new node a badge that shows what is found at it; without a finding nothing is seen. It comes behind the page's
// own, which nodes drawn as elements expect to be the first.
export function addBadge(node) {
    if (!window.LGraphBadge || !Array.isArray(node.badges)) return;
    blank ??= new window.LGraphBadge({ text: "" });
    const badge = () => {
        void watched.source.revision;
        return badges.get(node) ?? ((isReplaced(node) && badgesOfIds.get(String(node.id))) || blank);
    };
    queueMicrotask(() => node.badges.push(badge));
}

function makeBadge({ severity, count }, text, onClick) {
    const word = text(`severities.${severity}`);
    const [fgColor, bgColor] = COLORS[severity];
    return new window.LGraphBadge({ text: count > 1 ? `${word} · ${count}` : word, fgColor, bgColor, onClick });
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
    if (!window.LGraphBadge) return;
    const counts = [...countFindings(findings)];
    badges = new Map(counts.map(([node, found]) => [node, makeBadge(found, text, onClick)]));
    badgesOfIds = new Map([...badges].map(([node, badge]) => [String(node.id), badge]));
    watched.source.revision += 1;
    app.canvas?.setDirty(true, true);
}
