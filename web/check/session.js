// The last check of the open graph, kept true while the graph changes.
import { postJson } from "../common/server.js";
import { applyChanges, graphSettled, openWorkflow, serializeGraph } from "./graph.js";

const SETTLED = 400; // ms without a change before a graph is checked again

export const session = { report: null, posted: null, error: "", isChecking: false, undo: null, onChange: () => {} };
let workflow;
let latest = 0;
let timer;

function update(values) {
    Object.assign(session, values);
    session.onChange(session);
}

// Checks the open graph; only the answer to the last question counts.
export async function checkGraph() {
    const question = ++latest;
    const graph = serializeGraph();
    clearTimeout(timer);
    update({ isChecking: true });
    try {
        const report = await postJson("/wan-lite/check", { workflow: graph });
        if (question !== latest) return;
        workflow = openWorkflow();
        update({ report, posted: graph, error: "", isChecking: false });
    } catch (error) {
        if (question === latest) update({ report: null, posted: null, error: error.message, isChecking: false });
    }
}

export function forget() {
    latest += 1;
    clearTimeout(timer);
    update({ report: null, posted: null, error: "", isChecking: false, undo: null });
}

// Called when the graph may have changed: what was found is looked at again, and forgotten in another workflow.
export function graphChanged() {
    if (!session.posted) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
        if (!session.undo?.isOpen()) session.undo = null;
        if (openWorkflow() !== workflow) forget();
        else if (JSON.stringify(serializeGraph()) !== JSON.stringify(session.posted)) checkGraph();
        else update({}); // the same values in new nodes, as after undoing
    }, SETTLED);
}

// Puts the remedies of findings into their widgets, and offers to take that back.
export async function applyRemedies(findings, described) {
    const settle = async () => {
        await checkGraph();
        await graphSettled();
    };
    const changes = findings.flatMap((finding) => finding.changes);
    const undo = await applyChanges(session.posted, changes, settle);
    if (!undo) await checkGraph();
    update({ undo: undo && { ...undo, described } });
}

export async function undoRemedies() {
    const { undo } = session;
    update({ undo: null });
    await undo?.run();
    await checkGraph();
}
