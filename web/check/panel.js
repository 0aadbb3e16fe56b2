// What a check found, as the page's own panels show things.
import { element } from "../common/dom.js";
import { showNode, titleOf, valueAt } from "./graph.js";
import { applyRemedies, checkGraph, session, undoRemedies } from "./session.js";

const SEVERITIES = ["wrong", "doubtful", "note"];
const ICONS = { wrong: "pi-times-circle", doubtful: "pi-exclamation-triangle", note: "pi-info-circle" };

const icon = (name) => element("i", { class: `pi ${name}`, "aria-hidden": "true" });

function button(label, name, onclick, more = {}) {
    const inner = name ? [icon(name), element("span", {}, label)] : [label];
    return element("button", { type: "button", class: "wl-button", onclick, ...more }, inner);
}

function toolbar(text) {
    const again = button("", "pi-refresh", checkGraph, {
        title: text("again"), "aria-label": text("again"), disabled: session.isChecking, class: "wl-button wl-icon",
    });
    return element("div", { class: "wl-toolbar" }, element("span", { class: "wl-title" }, text("title")), again);
}

function summary(report, text) {
    const count = (severity) => report.findings.filter((finding) => finding.severity === severity).length;
    const chips = SEVERITIES.filter(count).map((severity) =>
        element("span", { class: `wl-chip wl-${severity}` }, `${text(`severities.${severity}`)} ${count(severity)}`),
    );
    const mendable = report.findings.filter((finding) => finding.changes.length);
    const all = mendable.length > 1
        ? button(text("applyAll", { count: mendable.length }), "pi-check", () => apply(mendable), {
              class: "wl-button wl-apply-all",
          })
        : null;
    return element("div", { class: "wl-summary" }, chips, all);
}

const shorten = (number) => (number === null ? "?" : String(Number(number.toPrecision(4))));

function levels(sampler, text) {
    if (!sampler.sigmas) return element("p", { class: "wl-muted" }, text("cannotTell", { reason: sampler.unknown }));
    const shown = sampler.sigmas.slice(0, 12).map(shorten);
    const more = sampler.sigmas.length > shown.length ? " …" : "";
    return element("code", { title: sampler.sigmas.map(shorten).join(", ") }, shown.join("  ") + more);
}

function place(entry, text) {
    const label = `${titleOf(entry.node) ?? entry.title} #${entry.node}`;
    return button(label, "pi-map-marker", () => showNode(entry.node), {
        class: "wl-place", title: text("show"), "data-node": entry.node,
    });
}

function samplerCard(sampler, text) {
    const facts = [
        sampler.sampler,
        sampler.sigmas && text("steps", { count: Math.max(sampler.sigmas.length - 1, 0) }),
        sampler.shift !== null && `shift ${shorten(sampler.shift)}`,
        sampler.cfg !== null && `cfg ${shorten(sampler.cfg)}`,
    ];
    return element(
        "div", { class: "wl-card wl-sampler" },
        place(sampler, text),
        element("p", { class: "wl-muted" }, facts.filter(Boolean).join(" · ")),
        levels(sampler, text),
    );
}

function why(finding, text) {
    const known = `explanations.${finding.id}`;
    const explanation = text.has(known) ? text(known) : finding.explanation;
    return element(
        "details", {},
        element("summary", {}, text("why")),
        element("p", {}, explanation),
        finding.source ? element("p", { class: "wl-muted" }, text("source", { source: finding.source })) : null,
    );
}

// "steps #7: 6 → 4", the same in all languages.
function describeChange({ node, input, path, value }) {
    const [before, after] = [valueAt(session.posted, path), value].map((one) => JSON.stringify(one));
    return `${input} #${node}: ${before} → ${after}`;
}

const apply = (findings) => {
    const described = findings.flatMap((finding) => finding.changes.map(describeChange));
    return applyRemedies(findings, [...new Set(described)]);
};

function remedy(finding, text) {
    if (!finding.changes.length)
        return finding.remedy
            ? element("p", {}, `${finding.remedy} `, element("span", { class: "wl-muted" }, `(${text("byHand")})`))
            : null;
    return element(
        "div", { class: "wl-remedy" },
        finding.changes.map((change) => element("code", {}, describeChange(change))),
        button(text("apply"), "pi-check", () => apply([finding]), { class: "wl-button wl-primary wl-apply" }),
    );
}

function findingCard(finding, text) {
    const kind = text.has(`kinds.${finding.id}`) ? text(`kinds.${finding.id}`) : finding.id;
    const head = element(
        "div", { class: "wl-head" },
        icon(ICONS[finding.severity]), element("strong", {}, kind),
        element("span", { class: "wl-severity" }, text(`severities.${finding.severity}`)),
    );
    return element(
        "article", { class: `wl-card wl-finding wl-${finding.severity}`, "data-finding": finding.id },
        head, place(finding, text), element("p", {}, finding.message), remedy(finding, text), why(finding, text),
    );
}

function undoLine(text) {
    if (!session.undo) return null;
    const label = text("applied", { changes: session.undo.described.join(", ") });
    return element("div", { class: "wl-undo" }, element("span", {}, label), button(text("undo"), "pi-undo", undoRemedies));
}

function section(title, cards) {
    return cards.length ? element("section", {}, element("h3", {}, title), cards) : null;
}

function reportOf(report, text) {
    const isFine = !report.findings.some((finding) => finding.severity !== "note");
    const fine = element("p", { class: "wl-fine" }, icon("pi-check-circle"), text("fine"));
    return [
        summary(report, text),
        report.samplers.length === 0 ? element("p", { class: "wl-muted" }, text("noSampler")) : isFine ? fine : null,
        section(text("findings"), report.findings.map((finding) => findingCard(finding, text))),
        section(text("samplers"), report.samplers.map((sampler) => samplerCard(sampler, text))),
    ];
}

function body(text) {
    if (session.error) return element("p", { class: "wl-error" }, session.error);
    if (session.report) return reportOf(session.report, text);
    if (session.isChecking) return element("p", { class: "wl-muted" }, text("checking"));
    return element(
        "div", { class: "wl-start" },
        element("p", {}, text("intro")),
        button(text("start"), "pi-verified", checkGraph, { class: "wl-button wl-primary" }),
    );
}

// Fills an element with the state of the last check.
export function fillPanel(root, text) {
    const inner = element("div", { class: "wl-body" }, undoLine(text), body(text));
    const scrolled = root.querySelector(".wl-body")?.scrollTop ?? 0;
    root.replaceChildren(toolbar(text), inner);
    inner.scrollTop = scrolled;
}
